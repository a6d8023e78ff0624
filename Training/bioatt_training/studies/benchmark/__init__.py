"""The benchmark behind the model cards: image quality, safety and noise texture of models and classical filters.

`truth` provides the cases, `denoisers` and `baselines` the methods, `measures` the measurements. `runner` runs and
stores them, `tables` and `results` summarise them, `report` and `figures` present them.
"""
