"""Makes the bucket of MLFLOW_ARTIFACTS_DESTINATION (s3://BUCKET/...) where it is absent. May be repeated.

Out: exit status 0; 1 where the store does not answer within WAIT_S seconds (600).
"""

import os
import sys
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError


def main() -> int:
    bucket = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"]).netloc
    deadline = time.monotonic() + float(os.environ.get("WAIT_S", "600"))
    client = boto3.client("s3")  # address, region and credentials from AWS_*
    while True:
        try:
            client.create_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        except (NoConnectionError, HTTPClientError) as error:
            print(f"{error}; waiting", flush=True)
            if time.monotonic() > deadline:
                return 1
            time.sleep(2)
            continue
        print(f"bucket {bucket} is there", flush=True)
        return 0


if __name__ == "__main__":
    sys.exit(main())
