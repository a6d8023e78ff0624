# Slicer packages the installed tree here.
