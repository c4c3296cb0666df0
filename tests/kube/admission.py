"""What an API server with a ValidatingAdmissionPolicy says to an object that somebody creates or changes.

In: the policy and the object, as parsed YAML; for a change the object before; who asks. Out: the messages of the rules
that it breaks. As a server does it: an expression that cannot be evaluated refuses (failurePolicy Fail).
"""

from typing import Any

import cel

Object = dict[str, Any]


def refusals(policy: Object, given: Object, before: Object | None = None, user: str = "ada") -> list[str]:
    spec = policy["spec"]
    assert spec["failurePolicy"] == "Fail"
    request = {"operation": "UPDATE" if before else "CREATE", "userInfo": {"username": user}}
    context: Object = {"object": given, "oldObject": before, "request": request, "variables": {}}
    if not all(cel.evaluate(each["expression"], context) is True for each in spec["matchConditions"]):
        return []
    for each in spec.get("variables", []):
        context["variables"][each["name"]] = cel.evaluate(each["expression"], context)
    return [each["message"] for each in spec["validations"] if not holds(each["expression"], context)]


def holds(expression: str, context: Object) -> bool:
    try:
        return cel.evaluate(expression, context) is True
    except (ValueError, TypeError, RuntimeError):
        return False
