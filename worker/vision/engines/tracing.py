"""A network's maps as a graph of torch's operations, from which other engines are made."""

from torch import Tensor, fx, nn

from worker.vision.network import Network


class _Maps(nn.Module):
    """``network.maps`` as a module, so that it can be traced."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.network.maps(x)


def traced_maps(network: Network) -> fx.GraphModule:
    """The graph of ``network.maps`` without layers that do nothing; it shares the network's weights."""
    traced = fx.symbolic_trace(_Maps(network))
    layers = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        if node.op == "call_module" and isinstance(layers[node.target], nn.Identity):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    return traced
