"""AWS in plain dictionaries, for runs by the thousand: clients as boto3's, as far as the package needs them.

What they answer is held against moto and the embedded AWS by `test_cloud_contract.py`. Ids come from counters and
moments from the clock that is given, so that equal runs are equal to the last byte.
"""

from tests.simulation.cloud.dynamodb import InMemoryDynamoDb
from tests.simulation.cloud.events import InMemoryEventBridge
from tests.simulation.cloud.kms import InMemoryKms
from tests.simulation.cloud.s3 import InMemoryS3
from tests.simulation.cloud.secretsmanager import InMemorySecretsManager
from tests.simulation.cloud.sqs import InMemorySqs

__all__ = [
    "InMemoryDynamoDb",
    "InMemoryEventBridge",
    "InMemoryKms",
    "InMemoryS3",
    "InMemorySecretsManager",
    "InMemorySqs",
]
