"""The benchmark behind the model cards: image quality, safety and noise texture of models and of classical filters.

`truth` gives the cases, `denoisers` and `baselines` what is evaluated, `measures` the measurements. `runner` runs and
stores them, `tables` and `results` summarise them, `report` and `figures` present them.
"""
