"""What makes moto's EC2 slow when it holds a thousand instances, answered the short way with the same result.

moto finds the tags of one resource by a regular expression over the tags of all, on every instance of every list (400 instances:
2.6 s for one DescribeInstances), the image of each new instance by filtering all 1,301 images (10 of 11 ms of an instance), and an
instance by looking at all, oldest first.
"""

from __future__ import annotations

from typing import Any


def install() -> None:
    """Replace them for as long as this process lives: their answers are the same."""
    from moto.ec2.exceptions import InvalidInstanceIdError
    from moto.ec2.models.amis import AmiBackend
    from moto.ec2.models.core import TaggedEC2Resource
    from moto.ec2.models.instances import InstanceBackend
    from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

    if getattr(TaggedEC2Resource.get_tags, "short_way", False):
        return
    filtered: Any = AmiBackend.describe_images

    def get_tags(resource: Any) -> list[dict[str, str]]:
        name = resource.id
        if not name or name not in resource.ec2_backend.tags:
            return []
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(name), "")
        tags = list(resource.ec2_backend.tags[name].items())
        return [{"resource_id": name, "key": key, "value": value, "resource_type": kind} for key, value in tags]

    def describe_images(
        backend: Any, ami_ids: Any = None, filters: Any = None, exec_users: Any = None, owners: Any = None
    ) -> list[Any]:
        wanted = filters.get("image-id") if filters and len(filters) == 1 else None
        if isinstance(wanted, str) and wanted in backend.amis and not (ami_ids or exec_users or owners):
            return [backend.amis[wanted]]
        found: list[Any] = filtered(backend, ami_ids, filters, exec_users, owners)
        return found

    def get_instance_by_id(backend: Any, instance_id: str) -> Any:
        for reservation in reversed(list(backend.reservations.values())):  # whoever is asked for is mostly new
            for instance in reservation.instances:
                if instance.id == instance_id:
                    return instance
        return None

    def get_instance(backend: Any, instance_id: str) -> Any:
        found = get_instance_by_id(backend, instance_id)
        if found is None:
            raise InvalidInstanceIdError(instance_id)
        return found

    vars(get_tags)["short_way"] = True
    for owner, method in (
        (TaggedEC2Resource, get_tags),
        (AmiBackend, describe_images),
        (InstanceBackend, get_instance),
        (InstanceBackend, get_instance_by_id),
    ):
        setattr(owner, method.__name__, method)
