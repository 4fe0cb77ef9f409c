#!/usr/bin/env bash
# See that the service deployed in a resource group does its work, with a token for a quarter of an hour, made and used
# by the image itself. Where an identity provider signs tokens, its token for whoever is signed in is used; or, in either
# case, the one in CB_TRADE_CLIENT__TOKEN. Needs `az login`, Docker, and the right to read the vault's secrets or to ask
# the service.
#
#   deploy/aci/smoke.sh RESOURCE_GROUP IMAGE [ARGUMENTS of smoke.py]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

group=${1:?which resource group?}
image=${2:?which image?}
shift 2

variable() { # CONTAINER NAME: print what it is set to, in the template
    az container list --resource-group "$group" --output tsv --query \
        "[].containers[] | [?name=='$1'] | [0].environmentVariables[?name=='$2'].value | [0]"
}

# What must not be seen in the log of a workflow.
mask() { [ -z "${GITHUB_ACTIONS-}" ] || printf '::add-mask::%s\n' "$1"; }

address=https://$(variable tls HOST_NAME)
issuer=$(variable service CB_TRADE_AUTH__ISSUER)
audience=$(variable service CB_TRADE_AUTH__AUDIENCE)

if [ -n "${CB_TRADE_CLIENT__TOKEN-}" ]; then
    :
elif [ -n "$(variable service CB_TRADE_AUTH__JWKS_URL)" ]; then
    CB_TRADE_CLIENT__TOKEN=$(az account get-access-token --scope "$audience/.default" --query accessToken --output tsv)
else
    vault=$(az keyvault list --resource-group "$group" --query '[0].name' --output tsv)
    CB_TRADE_AUTH__SECRET=$(az keyvault secret show --vault-name "$vault" --name token-key --query value --output tsv)
    export CB_TRADE_AUTH__SECRET
    mask "$CB_TRADE_AUTH__SECRET"
    CB_TRADE_CLIENT__TOKEN=$(docker run --rm --env CB_TRADE_AUTH__SECRET --env "CB_TRADE_AUTH__AUDIENCE=$audience" \
        --env "CB_TRADE_AUTH__ISSUER=$issuer" "$image" token create --subject smoke --days 0.01)
fi
export CB_TRADE_CLIENT__TOKEN
mask "$CB_TRADE_CLIENT__TOKEN"

# A first certificate and a first pull take minutes.
docker run --rm --env CB_TRADE_CLIENT__TOKEN --volume "$here/../smoke.py:/smoke.py:ro" --entrypoint python "$image" \
    /smoke.py "$address" --patience-secs 600 "$@"
