"""BioAttDenoise in Slicer: scene, panel and engine process. Never imports torch; uses `bioatt` through its worker."""
