# Slicer makes the package of the installed tree here.
