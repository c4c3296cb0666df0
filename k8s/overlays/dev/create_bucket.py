"""Makes the bucket of MLFLOW_ARTIFACTS_DESTINATION (s3://BUCKET/...) where it is absent. May be repeated."""

import os
import sys
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError


def main() -> int:
    bucket = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"]).netloc
    client = boto3.client("s3")  # address, region and credentials from AWS_*
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    print(f"bucket {bucket} is there", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
