"""Ways to get decisions from a group: arhn's own, and the rivals it is compared with.

A method is one file with a class as `method.Method` describes it, and one entry here.
"""

from __future__ import annotations

from typing import Any

from arhn.registry import Registry

#: Methods by name, each a class as `method.MethodClass` says.
METHODS: Registry[Any] = Registry(
    "method",
    "arhn.methods",
    {
        "arhn": "arhn.cleaning.methods.arhn:Arhn",
        "rlhn": "arhn.cleaning.methods.rlhn:Rlhn",
        "margin": "arhn.cleaning.methods.margin:MarginMethod",
        "none": "arhn.cleaning.methods.none:NoMethod",
    },
)

__all__ = ["METHODS"]
