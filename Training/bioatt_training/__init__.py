"""Low-dose simulation, data preparation, training and evaluation of BioAtt. Imports the engine, never the reverse."""
