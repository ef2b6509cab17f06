"""What a repository's `config.json` may say about a timm network: plain values of known names, within bounds.

Everything in it is untrusted. Whatever names a file, an address, a function or another configuration is refused, so
that it can only choose a network of timm's own, some of its sizes, and how its input is normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from filterlens.catalogs.validation import explain_invalid
from filterlens.errors import CheckpointError

__all__ = ["HubConfig", "ModelArgs", "read_config"]

Size = Annotated[int, Field(ge=1, le=4096)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Channels = Annotated[list[Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]], Field(max_length=16)]
Spreads = Annotated[list[Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]], Field(max_length=16)]
Classes = Annotated[int, Field(ge=0, le=10_000_000)]


class ModelArgs(BaseModel):
    """Arguments of `timm.create_model` that a repository may set."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    num_classes: Classes | None = None
    in_chans: Annotated[int, Field(ge=1, le=16)] | None = None
    img_size: Size | Annotated[list[Size], Field(min_length=2, max_length=2)] | None = None
    patch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    embed_dim: Size | None = None
    depth: Annotated[int, Field(ge=1, le=200)] | None = None
    num_heads: Annotated[int, Field(ge=1, le=256)] | None = None
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] | None = None
    init_values: Annotated[float, Field(ge=0, le=100)] | None = None
    reg_tokens: Annotated[int, Field(ge=0, le=64)] | None = None
    global_pool: Literal["", "avg", "max", "avgmax", "catavgmax", "fast", "token", "map"] | None = None
    class_token: bool | None = None
    no_embed_class: bool | None = None
    pre_norm: bool | None = None
    fc_norm: bool | None = None
    qkv_bias: bool | None = None
    qk_norm: bool | None = None
    dynamic_img_size: bool | None = None
    dynamic_img_pad: bool | None = None
    drop_rate: Rate | None = None
    drop_path_rate: Rate | None = None
    proj_drop_rate: Rate | None = None
    attn_drop_rate: Rate | None = None


class PretrainedCfg(BaseModel):
    """What is read of the weights' own description; the rest, such as addresses of other weights, is left."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    mean: Channels = [0.0]
    std: Spreads = [1.0]
    input_size: Annotated[list[Size], Field(min_length=3, max_length=3)] = [3, 224, 224]
    num_classes: Classes | None = None
    label_offset: Annotated[int, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> Self:
        if not {len(self.mean), len(self.std)} <= {1, self.input_size[0]}:
            raise ValueError(f"one value for each of {self.input_size[0]} channels was expected in mean and std")
        return self


class HubConfig(BaseModel):
    """A `config.json` as timm writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    architecture: Annotated[str, Field(pattern=r"\A[a-z0-9_]{1,100}\z")]
    num_classes: Classes | None = None
    model_args: ModelArgs | None = None
    pretrained_cfg: PretrainedCfg

    def overlay(self) -> dict[str, object]:
        """Return what takes the place of timm's own record of pretrained weights."""
        cfg = self.pretrained_cfg
        return {"input_size": tuple(cfg.input_size), "label_offset": cfg.label_offset}

    def options(self) -> dict[str, object]:
        """Return the keyword arguments of `timm.create_model`."""
        given = self.model_args or ModelArgs()
        options = {name: value for name in given.model_fields_set if (value := getattr(given, name)) is not None}
        classes = self.num_classes if self.num_classes is not None else self.pretrained_cfg.num_classes
        return options if classes is None else {"num_classes": classes} | options


def read_config(content: Mapping[str, object], repository: str) -> HubConfig:
    """Check a repository's description.

    Raises
    ------
    CheckpointError
        A value is of another type or range than it may be, or an argument of the network is none that is passed on.
    """
    try:
        return HubConfig.model_validate(content)
    except ValidationError as error:
        where, said = explain_invalid(error)
        raise CheckpointError(
            f"config.json of {repository}: {where}: {said}; fetch its weights and give them with timm:NAME?weights=PATH"
        ) from error
