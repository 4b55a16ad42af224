"""Resources of the code location."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource, InitResourceContext

from pipeline import settings as settings_module
from pipeline.lock import run_lock
from pipeline.progress import say


class RunLock(ConfigurableResource):
    """The home's run lock, held from a run's first step to its last: two runs never share a warehouse."""

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["RunLock"]:
        with run_lock(settings_module.load(), log=say):
            yield self
