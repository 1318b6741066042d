"""Every image of the repository: its Dockerfile and how it is built where no registry can be reached."""

from dataclasses import dataclass
from typing import Final

from e2e.cluster import binaries
from e2e.cluster.binaries import GoProgram
from e2e.cluster.errors import ClusterError


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """One image; `dockerfile` is relative to the repository, which is the build context.

    With `program`, the machine's Go compiles and the build context is that binary alone. With `reads`, the
    Dockerfile has a stage `runtime` of everything but the code, which depends on these files alone. With
    `has_filter`, the machine's rustc compiles the gateway's filter.
    `offline_args` are build arguments for buildah's path only.
    """

    name: str
    dockerfile: str
    program: GoProgram | None = None
    reads: tuple[str, ...] = ()
    has_filter: bool = False
    offline_args: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The name that manifests use."""
        return f"localhost/tertium-{self.name}:dev"


PAUSE: Final = ImageSpec(name="pause", dockerfile="e2e/cluster/go/pause/Dockerfile", program=binaries.PAUSE)
FAKE_GPU: Final = ImageSpec(
    name="fake-gpu",
    dockerfile="images/fake-gpu/Dockerfile",
    program=binaries.FAKE_GPU,
    offline_args=("BINARY=prebuilt",),
)
PRODUCT: Final = (
    ImageSpec(name="operator", dockerfile="images/operator/Dockerfile", reads=("requirements/runtime.txt",)),
    ImageSpec(
        name="gateway",
        dockerfile="images/gateway/Dockerfile",
        reads=("requirements/runtime.txt", "requirements/gateway.txt"),
        has_filter=True,
    ),
    # The engine's packages come from the machine as a read-only mount: six gigabytes are no layer for a test.
    ImageSpec(
        name="engine-cpu", dockerfile="images/engine-cpu/Dockerfile", offline_args=("PACKAGES=mounted",)
    ),
    ImageSpec(
        name="engine-double",
        dockerfile="e2e/engine-double/Dockerfile",
        program=binaries.ENGINE_DOUBLE,
        offline_args=("BINARY=prebuilt",),
    ),
)
ALL: Final = (PAUSE, FAKE_GPU, *PRODUCT)


def named(name: str) -> ImageSpec:
    """Return the image of that name.

    Raises:
        ClusterError: there is none.
    """
    for spec in ALL:
        if spec.name == name:
            return spec
    raise ClusterError(f"image {name!r}: expected one of {', '.join(spec.name for spec in ALL)}")
