"""The benchmark behind the model cards: quality, safety and noise texture of models and of what else one could use.

`truth` gives the cases, `denoisers` and `peers` what is judged, `quality`, `safety` and `texture` the measurements,
`runner` runs and keeps them, `tables`, `report` and `figures` show them.
"""
