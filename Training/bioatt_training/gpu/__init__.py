"""Training on a remote GPU without network access: data in one file, batches drawn on the GPU, outputs exported on a
CPU.
"""
