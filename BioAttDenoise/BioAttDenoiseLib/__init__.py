"""BioAttDenoise in Slicer: scene, panel and the engine's process. Never imports torch; talks to `bioatt` only through
its worker.
"""
