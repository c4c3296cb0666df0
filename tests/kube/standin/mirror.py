"""What an API server shows of a RayJob that the stand-in runs: its status, the pods that submit it, their logs.

In: the server's store and the operator, again and again. Out: objects in the store.
"""

from collections.abc import Callable

from tests.kube.apistore import ApiStore
from tests.kube.standin.operator import Operator
from tests.kube.standin.pods import Pod


class Mirror:
    def __init__(self, store: ApiStore, operator: Operator) -> None:
        self._store, self._operator = store, operator
        self._name = operator.rayjob["metadata"]["name"]
        self._shown: dict[str, int] = {}  # lines of each pod

    def then(self, condition: Callable[[], bool]) -> Callable[[], bool]:
        """The condition, with a look at what there is to show before it."""

        def look() -> bool:
            self.update()
            return condition()

        return look

    def update(self) -> None:
        """Logs come before the status that says they are complete."""
        for attempt, submitter in enumerate(self._operator.submitters):
            for pod in submitter.pods:
                self._show(pod, owner=f"submitter-{attempt}")
        self._store.set_status(self._name, self._operator.status.document())

    def _show(self, pod: Pod, owner: str) -> None:
        if pod.name not in self._shown:
            self._store.add_pod(pod.name, {"job-name": self._name}, owner=owner)
            self._shown[pod.name] = 0
        is_over, text = pod.is_over, pod.output()
        lines = text.split("\n")
        if not is_over or not lines[-1]:
            lines.pop()  # still being written
        for line in lines[self._shown[pod.name] :]:
            self._store.append_log(pod.name, line)
        self._shown[pod.name] = len(lines)
        if is_over:
            self._store.set_pod(pod.name, phase=pod.phase)
