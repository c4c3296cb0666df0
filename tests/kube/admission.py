"""What an API server with a ValidatingAdmissionPolicy says to an object that somebody creates.

In: the policy and the object, as parsed YAML. Out: the messages of the rules that it breaks. As a server does it: an
expression that cannot be evaluated refuses (failurePolicy Fail).
"""

from typing import Any

import cel

Object = dict[str, Any]


def refusals(policy: Object, given: Object) -> list[str]:
    spec = policy["spec"]
    assert spec["failurePolicy"] == "Fail"
    context: Object = {"object": given, "variables": {}}
    if not all(cel.evaluate(each["expression"], context) is True for each in spec["matchConditions"]):
        return []
    for each in spec["variables"]:
        context["variables"][each["name"]] = cel.evaluate(each["expression"], context)
    return [each["message"] for each in spec["validations"] if not holds(each["expression"], context)]


def holds(expression: str, context: Object) -> bool:
    try:
        return cel.evaluate(expression, context) is True
    except (ValueError, TypeError, RuntimeError):
        return False
