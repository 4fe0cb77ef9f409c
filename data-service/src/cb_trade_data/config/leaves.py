"""Every single setting of the models, with the variable that sets it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cb_trade_data.config import ExchangeSettings, Settings
from cb_trade_data.config.sources import PREFIX


@dataclass(frozen=True)
class Leaf:
    """A setting that holds a value, not others: where it is, such as `("storage", "root")`, and its field."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def variable(self) -> str:
        """The variable that sets it."""
        return PREFIX + "__".join(self.path).upper()


def leaves(exchanges: Sequence[str], model: type[BaseModel] = Settings, under: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Yield the settings of *model*, in its order; those of an exchange for each of *exchanges*."""
    for name, field in model.model_fields.items():
        path = (*under, name)
        if path == ("exchanges",):
            for exchange in exchanges:
                yield from leaves((), ExchangeSettings, (*path, exchange))
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(exchanges, field.annotation, path)
        else:
            yield Leaf(path, field)
