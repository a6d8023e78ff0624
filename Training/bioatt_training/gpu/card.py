"""The model card of the paper's network, with the numbers of its training and judgement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bioatt.inference.models import TrainedModel
from bioatt_training.evaluation.table import report


def card(model: TrainedModel, record: Mapping[str, Any], result: Mapping[str, Any], command: str) -> str:
    """Markdown: description, training, results on held-out patients, and limits."""
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
        "prior": f"`{model.metadata['prior']}`, pooled to one distribution per slice; **not BiomedCLIP's**, "
        "as in the paper",
        "data": f"{training['slices']} slices of {training['patients']} patients from the collections in "
        "[DATA.md](DATA.md); test and validation patients held out (`Training/configs/split.json`)",
        "noise": f"drawn for every patch: spectrum and local level of noise inserted in the projection domain; "
        f"dose fraction {dose}",
        "target": "the original scan, whose own noise is also in the input",
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

The network of BioAtt (arXiv 2504.01662) as described in the paper. Its authors published no weights; these are ours.
For denoising, [bioatt](bioatt.md) is the default. **Research use only, not a medical device, not for diagnosis.**

| | |
| --- | --- |
{table}

## Results on held-out patients

{report(dict(result)).partition(chr(10))[2].strip()}

## Limits

- **Its prior is not the paper's.** The paper weights the attention maps by BiomedCLIP's probabilities, which are more
  peaked than the pooled maps used to train this network. Networks trained with different priors are not
  interchangeable.
- It was trained only with the pooled priors of its slices: other priors are blended with them, with a warning
  (`training.prior_rise`).
- Its training targets have noise of their own, so it retains a fraction of the noise about equal to the dose fraction.
- In patches of 55 px, only the inner pixels have full context; the loss counts all pixels, as in the paper.
- Noise at doses outside the training range is left in or overestimated.
- The noise was simulated; no scan acquired at another dose was available.
"""
