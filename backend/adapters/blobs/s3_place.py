"""Where a bucket is, apart from what talks to it: that is loaded only where there is one."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where files are, and as whom we ask for them."""

    endpoint_url: str
    bucket: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    public_url: str
    """Where callers reach the same server."""
    redirects: bool
    """Whether callers are sent there."""
