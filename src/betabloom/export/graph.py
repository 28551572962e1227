"""An ONNX graph in the making: nodes are added one after the other, each by what it computes.

Nothing of torch is needed. Operators are those of opset 20, which ONNX Runtime has from version 1.17 on, and browsers
in onnxruntime-web.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

__all__ = ["IR_VERSION", "OPSET", "Graph", "Port"]

OPSET = 20
IR_VERSION = 9  # of the file format: the one that came with opset 20
TYPES = {
    "uint8": TensorProto.UINT8,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}
Array = np.ndarray
Port = tuple[str, str, tuple[int | str, ...]]
"""Name, type and shape of what goes in or comes out; "n" in place of a number stands for any number of pictures."""


@dataclass
class Graph:
    """Nodes and constants.

    Attributes:
        int8: Whether weights are kept in 8 bits, with one scale for each output.
    """

    int8: bool = False
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the name of its first output. Others are called NAME.1, NAME.2 and so on."""
        name = self._new(operator.lower())
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """Add a constant; its name."""
        return self._keep(np.asarray(value, dtype))

    def table(self, value: Array) -> str:
        """Add numbers as they are: 16 bits stay 16 bits."""
        return self._keep(np.ascontiguousarray(value))

    def weight(self, value: Array, axis: int = 0) -> str:
        """Add a weight as float32, kept in fewer bits where that loses nothing, or where `int8` asks for it.

        Arguments:
            value: float32, or float16.
            axis: Along which the outputs lie, each of which has its own scale in 8 bits.
        """
        if self.int8 and value.ndim > 1:
            return self._quantised(np.asarray(value, np.float32), axis)
        return self.exact(value)

    def exact(self, value: Array) -> str:
        """Add float32 numbers, in 16 bits where that loses nothing."""
        with np.errstate(over="ignore"):
            half = np.asarray(value, np.float16)
        if np.array_equal(half.astype(np.float32), value):
            return self.cast(self._keep(half), "float32")
        return self.constant(value)

    def cast(self, name: str, dtype: str) -> str:
        """The same numbers in another type."""
        return self.add("Cast", name, to=TYPES[dtype])

    def part(self, name: str, inputs: Sequence[Port], outputs: Mapping[str, Port]) -> GraphProto:
        """The nodes as the body of a `Scan`; constants stay with the graph around it."""
        for made, (public, *_) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [made], [public]))
        return helper.make_graph(self.nodes, name, _infos(inputs), _infos(outputs.values()))

    def body(self) -> Graph:
        """A graph for a part of this one, which shares its constants and names."""
        return Graph(self.int8, [], self.constants, self.numbers)

    def model(
        self, name: str, inputs: Sequence[Port], outputs: Mapping[str, Port], facts: Mapping[str, str]
    ) -> ModelProto:
        """The whole as a checked model.

        Arguments:
            name: Of the graph.
            inputs: What goes in.
            outputs: What comes out, by the name that a node gave it.
            facts: Metadata.
        """
        for made, (public, *_) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [made], [public], name=public))
        graph = helper.make_graph(self.nodes, name, _infos(inputs), _infos(outputs.values()), self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="betabloom")
        helper.set_model_props(model, dict(facts))
        checker.check_model(model, full_check=True)
        return model

    def _quantised(self, value: Array, axis: int) -> str:
        """W ≈ scale · q with q in −127 … 127 and one scale for each output."""
        rows = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
        scale = np.maximum(np.abs(rows).max(1) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        spread = np.expand_dims(scale, tuple(i for i in range(value.ndim) if i != axis))
        whole = np.rint(value / spread).astype(np.int8)
        return self.add("DequantizeLinear", self._keep(whole), self._keep(scale), axis=axis)

    def _keep(self, value: Array) -> str:
        name = self._new("constant")
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _new(self, prefix: str) -> str:
        return f"{prefix}_{next(self.numbers)}"


def _infos(ports: Sequence[Port] | Any) -> list[ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TYPES[dtype], list(shape)) for name, dtype, shape in ports]
