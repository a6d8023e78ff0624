"""The model card of the paper's network, with the numbers of its training and judgement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bioatt.inference.models import TrainedModel
from bioatt_training.evaluation.table import report


def card(model: TrainedModel, record: Mapping[str, Any], result: Mapping[str, Any], command: str) -> str:
    """Markdown: what it is, how it was trained, what it does on left-out patients, and what it is not."""
    training, network = model.metadata["training"], model.network
    optimiser, data = record["config"]["optimiser"], record["config"]["data"]
    done = record["arms"]["bioatt"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    low, high = data["doses"]
    dose = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    rows = {
        "version": model.version,
        "network": f"RED-CNN, {network.filters} filters, organ-aware attention with {network.descriptors} maps after "
        f"the third and the fifth layer ({parameters:,} parameters, int8 in the file)",
        "prior": f"`{model.metadata['prior']}`, pooled to one distribution a slice; **not BiomedCLIP's**, "
        "which the paper has",
        "data": f"{training['slices']} slices of {training['patients']} patients of the collections in "
        "[DATA.md](DATA.md); test and validation patients left out (`Training/configs/split.json`)",
        "noise": f"drawn anew for every patch: spectrum and local level of noise inserted in the projection domain; "
        f"dose fraction {dose}",
        "target": "the scan itself, whose own noise is in the input too",
        "recipe": f"{done['patches']:,} patches of {data['patch']} px in {done['steps']:,} steps of {data['batch']} "
        f"(the paper: about 28 million), {optimiser['loss']} of all pixels, {optimiser['algorithm']}, learning rate "
        f"{optimiser['learning_rate']:g} falling as a cosine, averaged weights; "
        f"{done['seconds']:.0f} s on {record['device']}",
        "command": f"`Testing/gpu/run.sh train`, then `{command}`",
        "licence": "Apache-2.0",
    }
    if not done.get("finished"):
        rows["recipe"] += "; **ended early**"
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""# {model.name}

The network of BioAtt (arXiv 2504.01662) as the paper describes it. Its authors publish no weights; these are ours.
For denoising, [bioatt](bioatt.md) is the default. **Research use only, not a medical device, not for diagnosis.**

| | |
| --- | --- |
{table}

## Measured on left-out patients

{report(dict(result)).partition(chr(10))[2].strip()}

## Limits

- **Its prior is not the paper's.** The paper weights the attention maps by BiomedCLIP's probabilities, which are more
  peaked than the pooled maps that this network was trained under. A network trained under one is not one trained under
  the other.
- It saw the pooled priors of its slices alone: other priors are blended with them, with a warning
  (`training.prior_rise`).
- It is trained against scans that have noise of their own, and keeps about the share of it that the dose fraction is.
- Patches of 55 px give full context to their inner pixels alone; the loss counts all of them, as the paper's does.
- Noise of other doses than those it was trained on is left, or taken for more than it is.
- The noise was simulated; no scan of another dose was available.
"""
