#!/usr/bin/env bash
# See that the service deployed in a resource group does its work, with a token for a quarter of an hour, made and used
# by the image itself. Needs `az login`, Docker, and the right to read the vault's secrets.
#
#   deploy/aci/smoke.sh RESOURCE_GROUP IMAGE [ARGUMENTS of smoke.py]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

group=${1:?which resource group?}
image=${2:?which image?}
shift 2

# The service's address is its issuer, too.
address=$(az container list --resource-group "$group" --output tsv --query \
    "[].containers[] | [?name=='service'] | [0].environmentVariables[?name=='CB_TRADE_AUTH__ISSUER'].value | [0]")
vault=$(az keyvault list --resource-group "$group" --query '[0].name' --output tsv)
CB_TRADE_AUTH__SECRET=$(az keyvault secret show --vault-name "$vault" --name token-key --query value --output tsv)
export CB_TRADE_AUTH__SECRET
[ -z "${GITHUB_ACTIONS-}" ] || printf '::add-mask::%s\n' "$CB_TRADE_AUTH__SECRET"

CB_TRADE_CLIENT__TOKEN=$(docker run --rm --env CB_TRADE_AUTH__SECRET --env CB_TRADE_AUTH__AUDIENCE=cb-trade \
    --env "CB_TRADE_AUTH__ISSUER=$address" "$image" token create --subject smoke --days 0.01)
export CB_TRADE_CLIENT__TOKEN
[ -z "${GITHUB_ACTIONS-}" ] || printf '::add-mask::%s\n' "$CB_TRADE_CLIENT__TOKEN"

# A first certificate and a first pull take minutes.
docker run --rm --env CB_TRADE_CLIENT__TOKEN --volume "$here/../smoke.py:/smoke.py:ro" --entrypoint python "$image" \
    /smoke.py "$address" --patience-secs 600 "$@"
