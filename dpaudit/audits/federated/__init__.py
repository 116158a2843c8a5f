"""``[federated]``: audits of federated training. All of them speak of users.

Canary clients and the attacks that need to watch every round take part in a second training by the same recipe; what an
attacker of the released model can do is measured on the model under audit itself.
"""

from dpaudit.audits.federated.run import FederatedSettings, audit_federations

__all__ = ["FederatedSettings", "audit_federations"]
