"""User data: what a host boots from."""

from __future__ import annotations

import gzip
import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.cloud.user_data import USER_DATA_BYTES_MAX, BootScriptUnknown, ManifestTooLarge, user_data

BOOT = "#!/usr/bin/python3\nimport json\n\nMANIFEST = r'''{}'''\n\nmanifest = json.loads(MANIFEST)\n"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@example({"command": "echo '''it's'''; print(r'''{}''')"})
@example({"command": "C:\\new\\u0027 \\''' \u2028\r\n end\\"})
@given(st.dictionaries(st.text(), JSON))
def test_the_script_reads_back_the_manifest_it_was_given(manifest: dict[str, object]):
    """Whatever users write - quotes, backslashes, any script of the world - arrives as it was."""
    script = gzip.decompress(user_data(manifest, BOOT)).decode()
    assert script.startswith("#!/usr/bin/python3\n")
    scope: dict[str, object] = {}
    exec(compile(script, "boot.py", "exec"), scope)
    assert scope["manifest"] == manifest


def test_the_same_manifest_gives_the_same_bytes():
    """A launch that is sent again must not differ in one byte."""
    manifest = {"v": 1, "hosts": [{"host": "host-1-0", "command": "it's"}]}
    packed = user_data(manifest, BOOT)
    assert packed == user_data(json.loads(json.dumps(manifest)), BOOT)
    assert packed[4:8] == bytes(4)  # gzip's time stamp


def test_user_data_over_the_limit_says_what_to_do():
    """16,384 bytes gzipped; the caller launches fewer hosts or uses the inbox."""
    noise = random.Random(1).randbytes(USER_DATA_BYTES_MAX).hex()
    with pytest.raises(ManifestTooLarge, match="fewer hosts at once") as caught:
        user_data({"hosts": [{"command": noise}]}, BOOT)
    assert caught.value.size_bytes > USER_DATA_BYTES_MAX


def test_the_agents_own_boot_script_has_its_place():
    """The file that bootstrap uploads is the one that is filled in here."""
    from agent.build import boot_script

    script = gzip.decompress(user_data({"v": 1, "hosts": []}, boot_script())).decode()
    assert "\nMANIFEST = r'''{\"v\":1,\"hosts\":[]}'''\n" in script
    compile(script, "boot.py", "exec")


@pytest.mark.parametrize("script", ["", "MANIFEST = '{}'\n", BOOT + BOOT])
def test_a_boot_script_without_its_one_place_is_refused(script: str):
    """A host that boots without its manifest costs money and does nothing."""
    with pytest.raises(BootScriptUnknown, match="spillway bootstrap"):
        user_data({}, script)
