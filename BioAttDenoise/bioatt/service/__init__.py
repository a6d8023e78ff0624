"""Many studies: rules, one study to its results, batches."""
