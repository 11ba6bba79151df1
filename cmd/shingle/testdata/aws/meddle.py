# Changes a stage by hand, as somebody does in the console, or undoes that:
# meddle.py ENDPOINT STAGE done|undone.
import sys

import boto3

endpoint, stage, what = sys.argv[1:]
undone = what == "undone"


def client(service):
    return boto3.client(service, region_name="us-east-1", endpoint_url=endpoint)


client("logs").put_retention_policy(logGroupName=f"/shingle/{stage}/control", retentionInDays=30 if undone else 7)
table = client("dynamodb")
table.update_table(TableName=f"shingle-{stage}", DeletionProtectionEnabled=undone)
table.update_continuous_backups(TableName=f"shingle-{stage}", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": undone})
