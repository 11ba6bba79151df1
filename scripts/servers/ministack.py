# ministack as its own command starts it, but for some kinds of resources that its
# CloudFormation does not know although it has their services: addresses, IPv6 blocks
# of networks, health checks, and replicas of keys; and it has an image for arm64. A
# global table is a table in its own region, with the settings of its replica there.
import itertools
import json
from xml.sax.saxutils import escape

import ministack.services.dynamodb as dynamodb
import ministack.services.ec2 as ec2
import ministack.services.kms as kms
import ministack.services.route53 as route53
import ministack.services.ssm as ssm
from ministack.app import main
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services.cloudformation import provisioners

IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-"
ssm._PUBLIC_AMI_PARAMETERS[IMAGE + "arm64"] = ssm._PUBLIC_AMI_PARAMETERS[IMAGE + "x86_64"]
handlers = provisioners._RESOURCE_HANDLERS
serial = itertools.count(1)


def tags(props):
    return [{"Key": t["Key"], "Value": t["Value"]} for t in props.get("Tags", [])]


def create_address(logical_id, props, stack_name):
    before = set(ec2._addresses)
    ec2._allocate_address({"Domain": [props["Domain"]]})
    (allocation,) = set(ec2._addresses) - before
    ec2._tags[allocation] = tags(props)
    return ec2._addresses[allocation]["PublicIp"], {"AllocationId": allocation}


def delete_address(physical_id, props):
    for allocation, address in list(ec2._addresses.items()):
        if address["PublicIp"] == physical_id:
            ec2._release_address({"AllocationId": [allocation]})


create_network = handlers["AWS::EC2::VPC"]["create"]


def create_network_with_block(logical_id, props, stack_name):
    physical_id, attributes = create_network(logical_id, props, stack_name)
    return physical_id, attributes | {"Ipv6CidrBlocks": ["2001:db8:0:ff00::/56"]}


def create_block(logical_id, props, stack_name):
    return f"vpc-cidr-assoc-{next(serial):08x}", {}


def create_health_check(logical_id, props, stack_name):
    config = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in props["HealthCheckConfig"].items())
    before = set(route53._health_checks)
    body = f"<CreateHealthCheckRequest><CallerReference>{stack_name}-{logical_id}-{next(serial)}</CallerReference><HealthCheckConfig>{config}</HealthCheckConfig></CreateHealthCheckRequest>"
    route53._create_health_check(body.encode())
    (check,) = set(route53._health_checks) - before
    return check, {"HealthCheckId": check}


def create_replica(logical_id, props, stack_name):
    _, _, _, primary, _, name = props["PrimaryKeyArn"].split(":")
    here = get_region()
    with request_scope(get_account_id(), primary):
        status, _, body = kms._replicate_key({
            "KeyId": name.removeprefix("key/"), "ReplicaRegion": here, "Description": props.get("Description", ""),
            "Policy": json.dumps(props["KeyPolicy"]), "Tags": [{"TagKey": t["Key"], "TagValue": t["Value"]} for t in tags(props)],
        })
    answer = json.loads(body)
    if status != 200:
        raise ValueError(answer["message"])
    key = answer["ReplicaKeyMetadata"]
    return key["KeyId"], {"Arn": key["Arn"], "KeyId": key["KeyId"]}


create_table = handlers["AWS::DynamoDB::GlobalTable"]["create"]


def create_global_table(logical_id, props, stack_name):
    (here,) = [r for r in props["Replicas"] if r["Region"] == get_region()]
    name, attributes = create_table(logical_id, props | {"DeletionProtectionEnabled": here["DeletionProtectionEnabled"]}, stack_name)
    for status, _, body in (
        dynamodb._update_ttl({"TableName": name, "TimeToLiveSpecification": props["TimeToLiveSpecification"]}),
        dynamodb._update_continuous_backups({"TableName": name, "PointInTimeRecoverySpecification": here["PointInTimeRecoverySpecification"]}),
    ):
        if status != 200:
            raise ValueError(body)
    return name, attributes


def stay(physical_id, old_props, new_props, stack_name):
    return physical_id, {}


handlers["AWS::DynamoDB::GlobalTable"]["create"] = create_global_table
handlers["AWS::EC2::EIP"] = {"create": create_address, "delete": delete_address, "update": stay}
handlers["AWS::EC2::VPC"]["create"] = create_network_with_block
handlers["AWS::EC2::VPCCidrBlock"] = {"create": create_block, "delete": lambda *_: None}
handlers["AWS::Route53::HealthCheck"] = {"create": create_health_check, "delete": lambda name, _: route53._health_checks.pop(name, None)}
handlers["AWS::KMS::ReplicaKey"] = {"create": create_replica, "delete": handlers["AWS::KMS::Key"]["delete"]}
main()
