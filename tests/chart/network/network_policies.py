"""Decide whether pods can reach each other under NetworkPolicies, as Kubernetes defines them.

It supports only matchLabels in selectors. An ipBlock also matches pods by their addresses, as in some clusters.
"""

import ipaddress
from dataclasses import dataclass, field

from tests.chart.rendering import Object


@dataclass(frozen=True, kw_only=True)
class Place:
    """A pod, or without a namespace something outside of the cluster."""

    name: str
    address: str
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def namespace_labels(self) -> dict[str, str]:
        """Return the labels that Kubernetes itself gives each namespace."""
        return {"kubernetes.io/metadata.name": self.namespace}


def may_reach(policies: list[Object], source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
    """Return whether `source` may connect to a port of `target`: allowed by its egress and by the target's ingress."""
    return _lets(policies, "Egress", source, target, port, protocol) and _lets(
        policies, "Ingress", target, source, port, protocol
    )


def selects(policy: Object, pod: Place) -> bool:
    """Return whether a policy selects a pod."""
    here = bool(pod.namespace) and policy["metadata"]["namespace"] == pod.namespace
    return here and _matches(policy["spec"]["podSelector"], pod.labels)


def _lets(policies: list[Object], direction: str, pod: Place, peer: Place, port: int, protocol: str) -> bool:
    about = [each for each in policies if direction in each["spec"]["policyTypes"] and selects(each, pod)]
    if not about:
        return True
    peers = "to" if direction == "Egress" else "from"
    for policy in about:
        for rule in policy["spec"].get(direction.lower()) or []:
            # A missing or empty list means everything.
            ports, listed = rule.get("ports") or [{"protocol": protocol}], rule.get(peers)
            if any(_is_port(each, port, protocol) for each in ports) and (
                not listed or any(_is_peer(each, peer, policy["metadata"]["namespace"]) for each in listed)
            ):
                return True
    return False


def _is_port(listed: Object, port: int, protocol: str) -> bool:
    assert listed.keys() <= {"port", "endPort", "protocol"}
    first: int = listed.get("port", 0)
    last: int = listed.get("endPort", first or 65535)
    right: str = listed.get("protocol", "TCP")
    return right == protocol and first <= port <= last


def _is_peer(listed: Object, peer: Place, namespace: str) -> bool:
    if "ipBlock" in listed:
        return _is_in_block(listed["ipBlock"], peer.address)
    if not peer.namespace:
        return False
    if "namespaceSelector" in listed:
        near = _matches(listed["namespaceSelector"], peer.namespace_labels)
    else:
        near = peer.namespace == namespace
    return near and _matches(listed.get("podSelector", {}), peer.labels)


def _is_in_block(block: Object, text: str) -> bool:
    address, network = ipaddress.ip_address(text), ipaddress.ip_network(block["cidr"])
    excepted = [ipaddress.ip_network(each) for each in block.get("except", [])]
    for each in excepted:
        # The API server rejects others.
        assert each.version == network.version
        assert each != network
        assert each.subnet_of(network)  # type: ignore[arg-type]  # of one version, as was just asserted
    return address in network and not any(address in each for each in excepted)


def _matches(selector: Object, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
