"""onnxruntime's profile: trace events in, one time for each node out."""

import statistics
from typing import Any, Dict, List, Tuple

from scbp_agent import wire

# Older versions note fences before and after each node as well; this is the node itself.
_KERNEL = "_kernel_time"
_NS_PER_US = 1000


def node_times(events: List[Dict[str, Any]], runs: int) -> List[wire.NodeTime]:
    """Return each node's median over the last ``runs`` runs, in the order executed.

    Args:
        events: Chrome trace events; those of a node have ``dur`` in whole microseconds, which is the resolution.
        runs: how many runs count; those before them were warm-ups.
    """
    durations_us: Dict[Tuple[str, str, str], List[int]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            facts = event["args"]
            # Names are optional in ONNX; a node's index in the graph tells those without one apart.
            node = (event["name"][: -len(_KERNEL)], facts["op_name"], str(facts.get("node_index", "")))
            durations_us.setdefault(node, []).append(int(event["dur"]))
    return [
        wire.NodeTime(name, op_type, int(statistics.median(taken[-runs:]) * _NS_PER_US))
        for (name, op_type, _), taken in durations_us.items()
    ]
