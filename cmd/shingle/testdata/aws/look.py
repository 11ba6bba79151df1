# Prints what a stage has in a region, a line for each thing, as the API of each
# service tells: look.py SERVER ENDPOINT STAGE REGION. The stage is called STAGE, and
# what AWS chooses, such as IDs and addresses, is left out.
import ast
import json
import sys

import boto3
from botocore.config import Config

server, endpoint, stage, region = sys.argv[1:]
patient = Config(retries={"max_attempts": 10}, read_timeout=120, s3={"addressing_style": "path"})
prefix, lines = f"shingle-{stage}", []


def client(service):
    return boto3.client(service, region_name=region, endpoint_url=endpoint, config=patient)


def say(*words):
    lines.append(" ".join(str(w) for w in words))


def ours(tags):
    return any(t.get("Key", t.get("TagKey")) == "shingle:stage" and t.get("Value", t.get("TagValue")) == stage for t in tags or [])


def short(arn):  # the last part of a name
    return str(arn).split(":")[-1].split("/")[-1]


def sets(settings):
    return ",".join(sorted(settings))


def allows(document):
    if isinstance(document, str):
        document = json.loads(document) if document.startswith('{"') else ast.literal_eval(document)  # moto's are Python's
    return " ".join(sorted(
        f"{s['Effect']}:{'+'.join(sorted([s['Action']] if isinstance(s['Action'], str) else s['Action']))}" + (f"?{sets(s['Condition'])}" if "Condition" in s else "")
        for s in document["Statement"]))


def stacks():
    for s in client("cloudformation").describe_stacks()["Stacks"]:
        if s["StackName"].startswith(prefix + "-"):
            say("stack", s["StackName"], s["StackStatus"])


def tables():
    c = client("dynamodb")
    try:
        t = c.describe_table(TableName=prefix)["Table"]
    except c.exceptions.ResourceNotFoundException:
        return
    ttl = c.describe_time_to_live(TableName=prefix)["TimeToLiveDescription"]
    recovery = c.describe_continuous_backups(TableName=prefix)["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
    say("table", prefix, "key=" + ",".join(f"{k['AttributeName']}:{k['KeyType']}" for k in t["KeySchema"]), t["BillingModeSummary"]["BillingMode"],
        "stream=" + t.get("StreamSpecification", {}).get("StreamViewType", "none"), "ttl=" + ttl.get("AttributeName", ttl["TimeToLiveStatus"]),
        "recovery=" + recovery, f"protected={t.get('DeletionProtectionEnabled')}", "replicas=" + sets(r["RegionName"] for r in t.get("Replicas", [])))


def buckets():
    c = client("s3")
    for b in c.list_buckets()["Buckets"]:
        name = b["Name"]
        if not name.startswith(prefix + "-") or not name.endswith(region):
            continue
        rule = c.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"][0]
        say("bucket", "encrypted=" + rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"])
        for what, get in {
            "public access": lambda: "blocked" if all(c.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values()) else "open",
            "owner": lambda: c.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"][0]["ObjectOwnership"],
            "lifecycle": lambda: ",".join(r["ID"] for r in c.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]),
            "policy": lambda: allows(c.get_bucket_policy(Bucket=name)["Policy"]),
        }.items():
            try:
                say("bucket", what, get())
            except c.exceptions.ClientError as e:
                say("bucket", what, e.response["Error"]["Code"])
        for o in c.list_objects_v2(Bucket=name).get("Contents", []):
            say("object", o["Key"].split("/")[0], o["Key"].count("."))


def parameters():
    c = client("ssm")
    told = {"deployment": lambda v: json.loads(v).get("InstanceType"), "regions": str}
    for name in ("master-key", "deployment", "regions"):
        try:
            p = c.get_parameter(Name=f"/shingle/{stage}/{name}", WithDecryption=True)["Parameter"]
        except c.exceptions.ParameterNotFound:
            continue
        say("parameter", name, p["Type"], told.get(name, len)(p["Value"]))


def functions():
    c, name = client("lambda"), prefix + "-control"
    try:
        f = c.get_function_configuration(FunctionName=name)
    except c.exceptions.ResourceNotFoundException:
        return
    say("function", name, f["Runtime"], f["Handler"], sets(f["Architectures"]), f["MemorySize"], "MB", f["Timeout"], "s log=" + f.get("LoggingConfig", {}).get("LogGroup", "-"))
    for k, v in sorted(f["Environment"]["Variables"].items()):
        say("function", f"{k}={v.split('key/')[0]}")
    try:
        say("url", c.get_function_url_config(FunctionName=name)["AuthType"])
        for s in json.loads(c.get_policy(FunctionName=name)["Policy"])["Statement"]:
            say("url", s["Effect"], s["Action"], json.dumps(s["Principal"]), sets(s.get("Condition", {}).get("StringEquals", {}) | s.get("Condition", {}).get("Bool", {})))
    except c.exceptions.ClientError as e:
        say("url", e.response["Error"]["Code"])


def schedules():
    c = client("scheduler")
    for each in c.list_schedules()["Schedules"]:
        if each["Name"].startswith(prefix + "-"):
            s = c.get_schedule(Name=each["Name"])
            say("schedule", s["Name"], s["ScheduleExpression"], s["State"], s["FlexibleTimeWindow"]["Mode"], s["Target"]["Input"], "->", short(s["Target"]["Arn"]),
                "retries", s["Target"]["RetryPolicy"]["MaximumRetryAttempts"])


def roles():
    c = client("iam")
    for page in c.get_paginator("list_roles").paginate():
        for r in page["Roles"]:
            name = r["RoleName"]
            try:
                if not ours(c.list_role_tags(RoleName=name)["Tags"]):
                    continue
            except c.exceptions.NoSuchEntityException:  # of another stage, which was removed meanwhile
                continue
            trusted = sets(s["Principal"]["Service"] for s in r["AssumeRolePolicyDocument"]["Statement"])
            for p in c.list_role_policies(RoleName=name)["PolicyNames"]:
                say("role", trusted, p, allows(c.get_role_policy(RoleName=name, PolicyName=p)["PolicyDocument"]))
            for p in c.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                say("role", trusted, p["PolicyName"])


def alarms():
    for page in client("cloudwatch").get_paginator("describe_alarms").paginate():
        for a in page["MetricAlarms"]:
            stages = [d["Value"] for d in a["Dimensions"]]
            if stage in stages or prefix + "-control" in stages:
                say("alarm", a["Namespace"], a["MetricName"], a["Statistic"], a["ComparisonOperator"], a["Threshold"], "in", a["EvaluationPeriods"], "x", a["Period"],
                    "->", short(a["AlarmActions"][0]))


def topics():
    c = client("sns")
    for t in c.list_topics()["Topics"]:
        if short(t["TopicArn"]) == prefix + "-alarms":
            say("topic", prefix + "-alarms", sets(f"{s['Protocol']}:{s['Endpoint']}" for s in c.list_subscriptions_by_topic(TopicArn=t["TopicArn"])["Subscriptions"]))


def logs():
    for g in client("logs").describe_log_groups(logGroupNamePrefix=f"/shingle/{stage}/")["logGroups"]:
        say("log", g["logGroupName"], g.get("retentionInDays"), "days")


def keys():
    c = client("kms")
    for k in c.list_keys()["Keys"]:
        m = c.describe_key(KeyId=k["KeyId"])["KeyMetadata"]
        if not ours(c.list_resource_tags(KeyId=k["KeyId"])["Tags"]):
            continue
        regions = m.get("MultiRegionConfiguration", {})
        say("key", m["KeyState"], regions.get("MultiRegionKeyType"), allows(c.get_key_policy(KeyId=k["KeyId"], PolicyName="default")["Policy"]))
    for a in c.list_aliases()["Aliases"]:
        if a["AliasName"] == f"alias/shingle-{stage}":
            say("key", a["AliasName"])


def zones():
    c = client("route53")
    checks = {h["Id"]: h["HealthCheckConfig"] for h in c.list_health_checks()["HealthChecks"]}
    for z in c.list_hosted_zones()["HostedZones"]:
        if not z["Name"].startswith(stage + "."):
            continue
        say("zone", z["Name"], z["Config"].get("Comment", ""))
        for r in c.list_resource_record_sets(HostedZoneId=z["Id"])["ResourceRecordSets"]:
            if r["Type"] in ("NS", "SOA"):
                continue
            check = checks.get(r.get("HealthCheckId"), {})
            say("record", r["Name"].replace("\\052", "*"), r["Type"], "latency=" + r["Region"] if "Region" in r else "many" if r.get("MultiValueAnswer") else "one",
                "alias=" + r["AliasTarget"]["DNSName"] if "AliasTarget" in r else f"{len(r['ResourceRecords'])} address",
                f"checked={check['Type']}:{check['Port']}{check['ResourcePath']}" if check else "")


def networks():
    c = client("ec2")
    tagged = [{"Name": "tag:shingle:stage", "Values": [stage]}]
    for a in c.describe_addresses()["Addresses"]:
        if ours(a.get("Tags")):
            say("address", a["Domain"], "of the edges of", *(t["Value"] for t in a["Tags"] if t["Key"] == "shingle:edges"))
    for v in c.describe_vpcs(Filters=tagged)["Vpcs"]:
        here = [{"Name": "vpc-id", "Values": [v["VpcId"]]}]
        dns = [c.describe_vpc_attribute(VpcId=v["VpcId"], Attribute=a)[a[0].upper() + a[1:]]["Value"] for a in ("enableDnsSupport", "enableDnsHostnames")]
        say("network", v["CidrBlock"], "dns", dns)
        for s in c.describe_subnets(Filters=here)["Subnets"]:
            public = "?" if server == "moto" else s["MapPublicIpOnLaunch"]  # moto's is as it happens
            say("subnet", s["CidrBlock"], "public", public, "IPv6", s.get("AssignIpv6AddressOnCreation"))
        for t in c.describe_route_tables(Filters=here)["RouteTables"]:
            if any(r.get("GatewayId", "").startswith("igw") for r in t["Routes"]):
                say("routes", sets(r.get("DestinationCidrBlock") or r.get("DestinationIpv6CidrBlock", "?") for r in t["Routes"]), len([a for a in t["Associations"] if a.get("SubnetId")]), "subnets")
        for g in c.describe_security_groups(Filters=here)["SecurityGroups"]:
            if g["GroupName"] == "default":
                continue
            for way in ("IpPermissions", "IpPermissionsEgress"):
                for p in g[way]:
                    say("firewall", "in" if way == "IpPermissions" else "out", p["IpProtocol"], p.get("FromPort", "all"),
                        sets([r["CidrIp"] for r in p["IpRanges"]] + [r["CidrIpv6"] for r in p["Ipv6Ranges"]]))


def edges():
    g = [g for g in client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] if g["AutoScalingGroupName"] == prefix + "-edges"]
    for g in g:
        hooks = client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName=g["AutoScalingGroupName"])["LifecycleHooks"]
        say("edges", g["MinSize"], g["DesiredCapacity"], g["MaxSize"], len(g["VPCZoneIdentifier"].split(",")), "subnets", len(g["Instances"]), "instances",
            [(h["LifecycleHookName"], h["HeartbeatTimeout"], h["DefaultResult"]) for h in hooks])
        c = client("ec2")
        for v in c.describe_launch_template_versions(LaunchTemplateId=g["LaunchTemplate"]["LaunchTemplateId"], Versions=["$Latest"])["LaunchTemplateVersions"]:
            d = v["LaunchTemplateData"]
            imds, disk = d["MetadataOptions"], d["BlockDeviceMappings"][0]["Ebs"]
            say("machine", d["InstanceType"], "version", v["VersionNumber"], "imds", imds["HttpTokens"], imds["HttpPutResponseHopLimit"], "credits", d.get("CreditSpecification", {}).get("CpuCredits"),
                "disk", disk["VolumeType"], disk["VolumeSize"], "encrypted", disk["Encrypted"])


for look in (stacks, tables, buckets, parameters, functions, schedules, roles, alarms, topics, logs, keys, zones, networks, edges):
    try:
        look()
    except Exception as e:
        say("FAILED", look.__name__, repr(e))
print("\n".join(" ".join(line.split()) for line in sorted(lines)).replace(stage, "STAGE"))
