"""Settings of an S3 server that keeps files."""

from pydantic import Field

from backend.core.config_types import BaseUrl, Group, Secret


class S3Settings(Group):
    """The bucket at S3_ENDPOINT_URL, and who the gateway is there."""

    bucket: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$",
        description="A bucket that is there and is used by nobody else.",
    )
    region: str = Field("us-east-1", pattern=r"^[A-Za-z0-9_-]{1,40}$", description="Its region.")
    access_key_id: Secret | None = Field(
        None, description="A key that may read, write and delete objects in the bucket."
    )
    secret_access_key: Secret | None = Field(None, description="The secret of that key.")
    public_url: BaseUrl | None = Field(
        None, description="Address at which callers reach the S3 server, where it is not the gateway's."
    )
    redirect: bool = Field(
        True,
        description="Send callers who may download a file to the S3 server, with an address that is good for a minute; "
        "off where they cannot reach it: the gateway then passes the file on.",
    )
