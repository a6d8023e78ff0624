"""Low-dose simulation, data, training and evaluation of BioAtt. Imports the engine; the engine never imports it."""
