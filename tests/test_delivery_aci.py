"""What Azure is told: two templates that give no more rights than needed, open one port, and show no secret."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cb_trade_data.config.loading import load_settings
from cb_trade_data.models import system

ROOT = Path(__file__).parents[1]
ACI = ROOT / "deploy" / "aci"
FOUNDATION: dict[str, Any] = json.loads((ACI / "foundation.json").read_text())
SERVICE: dict[str, Any] = json.loads((ACI / "service.json").read_text())
TEMPLATES = {"foundation": FOUNDATION, "service": SERVICE}
(GROUP,) = SERVICE["resources"]
CONTAINERS: dict[str, dict[str, Any]] = {each["name"]: each["properties"] for each in GROUP["properties"]["containers"]}

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
BUILT_IN_ROLES = {
    "acrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "acrPush": "8311e382-0749-4cb8-b61a-304f252e45ec",
    "blobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "keyVaultSecretsUser": "4633458b-17de-408a-b874-0445c86b69e6",
    "storageKeyOperator": "81a9662b-bebf-436f-a333-f67b29880f12",
}


def of_type(kind: str) -> list[dict[str, Any]]:
    return [resource for resource in FOUNDATION["resources"] if resource["type"] == kind]


def texts(value: Any) -> list[str]:
    """Every text in *value*, at any depth."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_one_that_resource_manager_takes(name: str):
    template = TEMPLATES[name]

    assert template["$schema"].endswith("/2019-04-01/deploymentTemplate.json#")
    assert [each for each in template["resources"] if not re.fullmatch(r"20\d\d-\d\d-\d\d", each["apiVersion"])] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_expression_names_only_what_there_is(name: str):
    template = TEMPLATES[name]
    expressions = [text for text in texts(template) if text.startswith("[") and not text.startswith("[[")]
    named = {
        kind: {match for text in expressions for match in re.findall(rf"\b{kind}\('(\w+)'\)", text)}
        for kind in ("parameters", "variables")
    }

    assert expressions
    assert named["parameters"] == template["parameters"].keys()
    assert named["variables"] == template["variables"].keys()
    assert [text for text in expressions if text.count("(") != text.count(")") or not text.endswith("]")] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_resource_waits_for_those_it_names(name: str):
    """In a template of this language version, nothing else makes Resource Manager wait."""
    created = {resource["type"] for resource in TEMPLATES[name]["resources"]}
    for resource in TEMPLATES[name]["resources"]:
        needed = {match for text in texts(resource) for match in re.findall(r"resourceId\('([\w./]+)'", text)}
        waits = {
            match for text in resource.get("dependsOn", []) for match in re.findall(r"resourceId\('([\w./]+)'", text)
        }

        assert (needed & created) - waits == set()


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_parameter_says_what_it_is_for(name: str):
    assert [key for key, each in TEMPLATES[name]["parameters"].items() if not each["metadata"]["description"]] == []


# ---- rights ----------------------------------------------------------------------------------------------------------


def rights() -> set[tuple[str, str, str]]:
    """Who may do what where: identity, role and the scope's kind."""
    given = set()
    for role in of_type("Microsoft.Authorization/roleAssignments"):
        who = re.search(r"variables\('(\w+)Name'\)", role["properties"]["principalId"])
        what = re.search(r"variables\('roles'\)\.(\w+)", role["properties"]["roleDefinitionId"])
        where = re.search(r"resourceId\('([\w./]+)', variables\('(\w+)'\)", role.get("scope", ""))
        assert who is not None
        given.add((who[1], what[1] if what else "its own", f"{where[1]} {where[2]}" if where else "the group"))
    return given


def test_each_identity_has_the_rights_it_needs_where_it_needs_them():
    assert rights() == {
        ("service", "acrPull", "Microsoft.ContainerRegistry/registries registryName"),
        ("service", "blobDataContributor", "Microsoft.Storage/storageAccounts/blobServices/containers dataName"),
        ("deployer", "acrPush", "Microsoft.ContainerRegistry/registries registryName"),
        ("deployer", "storageKeyOperator", "Microsoft.Storage/storageAccounts tlsName"),
        ("deployer", "keyVaultSecretsUser", "Microsoft.KeyVault/vaults vaultName"),
        ("deployer", "its own", "the group"),
    }


def test_the_roles_are_those_that_azure_knows_by_these_numbers():
    assert FOUNDATION["variables"]["roles"] == BUILT_IN_ROLES


def test_the_deployers_own_role_deletes_no_resource_and_gives_out_no_rights():
    (role,) = of_type("Microsoft.Authorization/roleDefinitions")
    (permission,) = role["properties"]["permissions"]

    assert [action for action in permission["actions"] if action.endswith("/delete") or "Authorization" in action] == []
    # A wildcard would grow with what Azure learns to do; deployments are only the record of what is done.
    assert [action for action in permission["actions"] if "*" in action] == ["Microsoft.Resources/deployments/*"]


def test_only_the_environment_of_one_repository_is_the_deployer():
    (trust,) = of_type("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials")

    assert trust["properties"]["issuer"] == "https://token.actions.githubusercontent.com"
    assert trust["properties"]["subject"].endswith("parameters('githubRepository'), ':environment:production')]")


def test_without_a_repository_there_is_no_deployer():
    unconditional = [each for each in FOUNDATION["resources"] if "condition" not in each]

    assert [text for text in texts(unconditional) if "deployer" in text] == []


def test_history_can_be_reached_with_no_key_and_by_no_stranger():
    accounts = {account["name"]: account["properties"] for account in of_type("Microsoft.Storage/storageAccounts")}

    assert accounts["[variables('dataName')]"]["allowSharedKeyAccess"] is False
    for account in accounts.values():
        assert account["allowBlobPublicAccess"] is False
        assert account["supportsHttpsTrafficOnly"] is True
        assert account["minimumTlsVersion"] == "TLS1_2"


def test_the_registry_has_no_password():
    (registry,) = of_type("Microsoft.ContainerRegistry/registries")

    assert registry["properties"]["adminUserEnabled"] is False


# ---- the container group ---------------------------------------------------------------------------------------------


def test_one_port_is_open_and_it_is_the_sidecars():
    assert GROUP["properties"]["ipAddress"]["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert "ports" not in CONTAINERS["service"]
    assert CONTAINERS["tls"]["ports"] == [{"port": 443, "protocol": "TCP"}]


def test_it_runs_as_the_identity_that_pulls_the_images():
    (identity,) = GROUP["identity"]["userAssignedIdentities"]
    (registry,) = GROUP["properties"]["imageRegistryCredentials"]

    assert GROUP["identity"]["type"] == "UserAssigned"
    assert registry["identity"] == identity
    assert registry.keys() == {"server", "identity"}


@pytest.mark.parametrize(("probe", "path"), [("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")])
def test_the_service_is_asked_how_it_is(probe: str, path: str):
    asked = CONTAINERS["service"][probe]

    assert asked["exec"]["command"] == ["python", "/opt/cb-trade/healthcheck.py", path]
    assert asked["failureThreshold"] >= 3


def test_it_comes_back_when_it_ends():
    assert GROUP["properties"]["restartPolicy"] == "Always"


def test_its_log_is_kept():
    assert GROUP["properties"]["diagnostics"]["logAnalytics"].keys() == {"logType", "workspaceId", "workspaceKey"}


def test_a_secret_is_never_a_plain_value():
    secret = {name for name, each in SERVICE["parameters"].items() if each["type"] == "securestring"}
    settings = CONTAINERS["service"]["environmentVariables"]

    assert secret == {"tokenKey", "secretSettings"}
    for name in secret:
        uses = [text for text in texts(SERVICE) if f"parameters('{name}')" in text]
        assert uses == [settings]
        assert SERVICE["parameters"][name]["defaultValue"] in {"", "{}"}
    assert "'name', 'CB_TRADE_AUTH__SECRET', 'secureValue', parameters('tokenKey')" in settings
    assert re.search(r"map\(items\(json\(parameters\('secretSettings'\)\)\), lambda\(.*'secureValue'", settings)


def test_the_sidecar_is_handed_its_file_as_it_stands_here():
    assert SERVICE["variables"]["caddyfile"] == (ACI / "Caddyfile").read_text()
    assert CONTAINERS["tls"]["volumeMounts"][0] == {"name": "caddyfile", "mountPath": "/etc/caddy", "readOnly": True}


def test_the_sidecar_hands_on_to_where_the_service_listens():
    settings = plain_settings()

    assert f"reverse_proxy {settings['CB_TRADE_HOST']}:{settings['CB_TRADE_PORT']}\n" in (ACI / "Caddyfile").read_text()
    assert settings["CB_TRADE_HOST"] == "127.0.0.1"


def test_the_sidecar_logs_neither_the_address_nor_the_headers_of_a_request():
    """Both may hold a token."""
    caddyfile = (ACI / "Caddyfile").read_text()
    options = caddyfile[: caddyfile.index("\n}\n")]
    (log,) = re.findall(r"^\tlog \{\n(.*?)^\t\}$", options, re.MULTILINE | re.DOTALL)

    # A second log, of whatever kind, would have a format of its own.
    assert len(re.findall(r"^\s*log\b", caddyfile, re.MULTILINE)) == 1
    assert " ".join(log.split()) == "format filter { wrap json fields { request>uri delete request>headers delete } }"


def test_keys_of_tokens_come_from_one_place():
    settings = CONTAINERS["service"]["environmentVariables"]

    assert re.search(
        r"if\(empty\(parameters\('jwksUrl'\)\), "
        r"createObject\('name', 'CB_TRADE_AUTH__SECRET', [^()]*\('tokenKey'\)\), "
        r"createObject\('name', 'CB_TRADE_AUTH__JWKS_URL', 'value', parameters\('jwksUrl'\)\)\)",
        settings,
    )
    assert settings.count("CB_TRADE_AUTH__") == 2


def plain_settings() -> dict[str, str]:
    """The settings of the service in the template, with what is computed there put in its place."""
    computed = {
        "CB_TRADE_AUTH__AUDIENCE": SERVICE["parameters"]["audience"]["defaultValue"],
        "CB_TRADE_STORAGE__AZURE__ACCOUNT_URL": "https://cbtradedata.blob.core.windows.net",
        "CB_TRADE_AUTH__ISSUER": "https://cb-trade.westeurope.azurecontainer.io",
        "CB_TRADE_LIMITS__MEMORY_MAX_BYTES": str(2 * 805_306_368),
    }
    written = {each["name"]: each["value"] for each in SERVICE["variables"]["serviceSettings"]}
    expressions = {name for name, value in written.items() if value.startswith("[") and not value.startswith("[[")}

    assert expressions == computed.keys()
    # Two brackets stand for one.
    return {name: re.sub(r"^\[\[", "[", value) for name, value in (written | computed).items()}


TENANT = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("keys", "algorithms"),
    [
        ({"CB_TRADE_AUTH__SECRET": "what the vault holds, long enough for a key"}, ("HS256",)),
        (
            {
                "CB_TRADE_AUTH__JWKS_URL": f"{TENANT}/discovery/v2.0/keys",
                "CB_TRADE_AUTH__ISSUER": f"{TENANT}/v2.0",
                "CB_TRADE_AUTH__AUDIENCE": "66666666-7777-8888-9999-000000000000",
            },
            ("RS256",),
        ),
    ],
    ids=["a key", "Microsoft Entra ID"],
)
def test_the_service_starts_in_production_with_these_settings(
    keys: dict[str, str], algorithms: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    for name, value in (plain_settings() | keys).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(system, "TELLS_OWN_MEMORY", True)  # a container's is Linux

    settings = load_settings(known_exchanges=["binance"])

    assert settings.mode == "production"
    assert settings.storage.backend == "azure"
    assert settings.storage.azure.connection_string is None
    assert settings.auth.allowed_origins == ()
    assert settings.auth.algorithms == algorithms


# ---- the guide -------------------------------------------------------------------------------------------------------

GUIDE = (ROOT / "docs" / "how-to" / "run-on-azure.md").read_text()


def commands(page: str) -> str:
    return "\n".join(re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL))


def test_the_guide_tells_every_parameter():
    told = {
        name
        for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", GUIDE, re.MULTILINE)
        for name in re.findall(r"\w+", row)
    }

    assert told == FOUNDATION["parameters"].keys() | SERVICE["parameters"].keys()


def test_the_commands_of_the_guide_are_such_that_bash_understands():
    parsed = subprocess.run(["bash", "-n"], input=commands(GUIDE), capture_output=True, text=True, check=False)  # noqa: S607

    assert (parsed.returncode, parsed.stderr) == (0, "")


def test_every_variable_of_the_guide_is_set_before_it_is_used():
    known = {"USER", "1", "2"}
    for line in commands(GUIDE).splitlines():
        used = set(re.findall(r"\$\{?(\w+)", re.sub(r"'[^']*\$[^']*'", "", line)))
        assert used - known - set(re.findall(r"\b(\w+)=", line)) == set(), line
        known |= set(re.findall(r"\b(\w+)=", line)) | set(re.findall(r"(?:for|read -r) (\w+)", line))


def test_the_guide_imports_the_sidecar_that_the_template_names():
    (version,) = re.findall(r"/(caddy:[\w.-]+)'", SERVICE["parameters"]["sidecarImage"]["defaultValue"])

    assert f"--image {version} " in GUIDE
    assert re.search(r"/caddy@sha256:[0-9a-f]{64}\n", GUIDE)


def test_the_guide_sets_every_variable_that_the_workflow_reads():
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()

    assert set(re.findall(r"vars\.(\w+)", workflow)) == set(re.findall(r"^set_variable (\w+) ", GUIDE, re.MULTILINE))


# ---- the scripts, with an `az` that only tells what it was asked -----------------------------------------------------

AZ = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$ASKED"
for argument; do case $argument in @*) cat "${argument#@}" >>"$ASKED" ;; esac; done
case "$*" in
    *HOST_NAME*) echo cb-trade.example.com ;;
    *AUTH__ISSUER*) echo "${ISSUER-https://cb-trade.example.com}" ;;
    *AUTH__AUDIENCE*) echo "${AUDIENCE-cb-trade}" ;;
    *AUTH__JWKS_URL*) echo "${JWKS_URL-}" ;;
    *outputs.registryName.*) echo cbtrade123 ;;
    *outputs.vaultName.*) echo cbtrade-vault ;;
    "account show"*tenantId*) echo my-tenant ;;
    "ad app create"*) echo 1234 ;;
    "ad app credential reset"*) echo the-password ;;
    "container list"*) echo registry.azurecr.io/cb-trade@sha256:before ;;
    "keyvault list"*) echo /subscriptions/1/vaults/cbtrade ;;
    "keyvault secret show"*) echo the-key-of-tokens ;;
    "account get-access-token"*) echo the-token-of-the-provider ;;
    "deployment group"*) echo wss://cb-trade.example.com/ws/data ;;
esac
"""

DOCKER = """#!/usr/bin/env bash
key=${CB_TRADE_AUTH__SECRET-no key} token=${CB_TRADE_CLIENT__TOKEN-no token}
echo "docker $* with $key and $token" >>"$ASKED"
case "$*" in *" token create "*) echo the-token-of-ours ;; esac
"""


LISTENER = """#!/usr/bin/env bash
printf '%s\\n' "${0##*/} $*" >>"$ASKED"
case "$*" in *oauth2*) echo '{"access_token": "the-token-of-the-provider"}' ;; esac
"""


def install(program: Path, source: str) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(source)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def run(
    tmp_path: Path, script: str, *arguments: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a script of deploy/aci; return how it ended, and what it asked of `az` and `docker`."""
    for name, program in (("az", AZ), ("docker", DOCKER)):
        install(tmp_path / name, program)
    asked = tmp_path / "asked"
    asked.touch()
    done = subprocess.run(  # noqa: S603 - our own script
        [ACI / script, *arguments],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "ASKED": str(asked), "TMPDIR": str(tmp_path)}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, asked.read_text()


def test_deploying_hands_azure_the_template_the_image_and_where_secrets_are(tmp_path: Path):
    done, asked = run(tmp_path, "deploy.sh", "my-group", "registry.azurecr.io/cb-trade:1", "dnsLabel=cb-trade")

    assert (done.returncode, done.stdout) == (0, "wss://cb-trade.example.com/ws/data\n")
    assert f"--template-file {ACI}/service.json" in asked
    assert '"image": {"value": "registry.azurecr.io/cb-trade:1"}' in asked
    for parameter, secret in (("tokenKey", "token-key"), ("secretSettings", "secret-settings")):
        reference = f'{{"keyVault": {{"id": "/subscriptions/1/vaults/cbtrade"}}, "secretName": "{secret}"}}'
        assert f'"{parameter}": {{"reference": {reference}}}' in asked
    assert " dnsLabel=cb-trade " in asked


def test_deploying_leaves_no_file_behind(tmp_path: Path):
    run(tmp_path, "deploy.sh", "my-group", "registry.azurecr.io/cb-trade:1", "dnsLabel=cb-trade")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked", "az", "docker"]


def test_deploying_hands_azure_no_key_where_somebody_else_signs_tokens(tmp_path: Path):
    done, asked = run(tmp_path, "deploy.sh", "my-group", "image", "dnsLabel=cb-trade", f"jwksUrl={TENANT}/keys")

    assert done.returncode == 0
    assert "tokenKey" not in asked
    (parameters,) = re.findall(r"^\{.*?^\}", asked, re.MULTILINE | re.DOTALL)
    assert json.loads(parameters)["parameters"].keys() == {"image", "secretSettings"}
    assert f" jwksUrl={TENANT}/keys " in asked


def test_what_runs_can_be_asked_for(tmp_path: Path):
    done, _ = run(tmp_path, "deploy.sh", "--running", "my-group")

    assert done.stdout == "registry.azurecr.io/cb-trade@sha256:before\n"


@pytest.mark.parametrize("arguments", [(), ("my-group",), ("--fly", "my-group", "image")])
def test_what_it_does_not_understand_is_refused_before_azure_is_asked(arguments: tuple[str, ...], tmp_path: Path):
    done, asked = run(tmp_path, "deploy.sh", *arguments)

    assert done.returncode == 1
    assert "usage:" in done.stderr
    assert asked == ""


def test_nothing_is_deployed_where_no_image_is_named(tmp_path: Path):
    """`--running` names none after a delete."""
    done, asked = run(tmp_path, "deploy.sh", "my-group", "", "dnsLabel=cb-trade")

    assert (done.returncode, done.stderr) == (1, "deploy.sh: no image: nothing runs in my-group; name one\n")
    assert asked == ""


def test_what_was_deployed_is_tried_with_a_token_made_for_it(tmp_path: Path):
    done, asked = run(
        tmp_path, "smoke.sh", "my-group", "image", "--exchange", "kraken", ISSUER="https://old.example.com"
    )

    make, use = [line for line in asked.splitlines() if line.startswith("docker ")]
    assert done.returncode == 0, done.stderr
    assert "CB_TRADE_AUTH__AUDIENCE=cb-trade --env CB_TRADE_AUTH__ISSUER=https://old.example.com image token" in make
    assert make.endswith(" with the-key-of-tokens and no token")
    assert " /smoke.py https://cb-trade.example.com --patience-secs 600 --exchange kraken with " in use
    assert use.endswith(" and the-token-of-ours")


def test_what_was_deployed_is_tried_with_the_providers_token_where_there_is_one(tmp_path: Path):
    _, asked = run(tmp_path, "smoke.sh", "my-group", "image", AUDIENCE="1234", JWKS_URL=f"{TENANT}/keys")

    assert "account get-access-token --scope 1234/.default " in asked
    assert "secret show" not in asked
    assert asked.endswith(" with no key and the-token-of-the-provider\n")


def test_what_was_deployed_is_tried_with_the_token_that_is_given(tmp_path: Path):
    _, asked = run(tmp_path, "smoke.sh", "my-group", "image", CB_TRADE_CLIENT__TOKEN="given")

    assert "secret show" not in asked
    assert asked.endswith(" with no key and given\n")


def test_a_workflow_shows_neither_key_nor_token(tmp_path: Path):
    done, _ = run(tmp_path, "smoke.sh", "my-group", "image", GITHUB_ACTIONS="true")

    assert done.stdout == "::add-mask::the-key-of-tokens\n::add-mask::the-token-of-ours\n"


# ---- the commands of the guide, with programs that only listen -------------------------------------------------------


def follow(tmp_path: Path, page: str) -> list[str]:
    """Run the commands of *page* in a shell of its own, in a folder like this repository's; return what they asked."""
    folder, programs, asked = tmp_path / "cb-trade", tmp_path / "programs", tmp_path / "asked"
    for program in (
        *(programs / name for name in ("curl", "docker", "gh", "git")),
        *(folder / name for name in ("platform.sh", ".venv/bin/cb-trade", ".venv/bin/python")),
    ):
        install(program, LISTENER)
    install(programs / "az", AZ)
    if not (folder / "deploy").exists():
        (folder / "deploy").symlink_to(ROOT / "deploy")
    asked.write_text("")

    done = subprocess.run(  # noqa: S603 - our own guide
        ["bash", "-euo", "pipefail", "-c", commands(page)],  # noqa: S607
        cwd=folder,
        env={
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "ASKED": str(asked),
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "USER": "me",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    return asked.read_text().splitlines()


def test_the_guide_can_be_followed_and_gone_on_with_in_another_shell(tmp_path: Path):
    """To its end, where all is removed. What one shell leaves to the other is in the file that the guide writes."""
    first, heading, other = GUIDE.partition("\n## In another shell\n")
    given = (
        "dnsLabel=my-cb-trade hostName=data.example.com jwksUrl=https://login.microsoftonline.com/my-tenant/discovery/v2.0/"
        "keys issuer=https://login.microsoftonline.com/my-tenant/v2.0 audience=1234"
    )

    follow(tmp_path, first)
    asked = follow(tmp_path, heading + other)

    deployed = [line for line in asked if line.startswith("deployment group create") and "/service.json" in line]
    assert deployed
    assert [line for line in deployed if f" {given} --query" not in line] == []
    assert "acr build --registry cbtrade123 --image cb-trade:2 ." in asked
    assert any(line.startswith("keyvault secret set --vault-name cbtrade-vault --name token-key ") for line in asked)
    assert "python deploy/smoke.py https://data.example.com --patience-secs 300" in asked
    assert f"gh variable set DEPLOY_PARAMETERS --repo OWNER/NAME --env production --body {given}" in asked
    assert asked[-1] == "keyvault purge --name cbtrade-vault"


def test_what_the_guide_keeps_for_another_shell_has_no_secret(tmp_path: Path):
    follow(tmp_path, GUIDE)

    kept = (tmp_path / "cb-trade-azure.sh").read_text()
    secrets = ("the-key-of-tokens", "the-token-of-the-provider", "the-password")
    assert [secret for secret in secrets if secret in kept] == []


def test_a_role_can_be_given_in_another_shell(tmp_path: Path):
    follow(tmp_path, GUIDE)

    asked = follow(tmp_path, "```bash\n. ~/cb-trade-azure.sh\nallow 5678 admin:read\n```\n")

    assert any("appRoles[?value=='admin:read']" in line for line in asked)
    assert any('"principalId": "5678"' in line for line in asked)
