#!/usr/bin/env bash
# Deploy an image of the service into what foundation.json made, and print where clients connect. Needs `az login`.
#
#   deploy/aci/deploy.sh RESOURCE_GROUP IMAGE PARAMETER=VALUE…    with parameters of service.json; dnsLabel is required
#   deploy/aci/deploy.sh --running RESOURCE_GROUP                 print the image that runs; nothing if none does
#
# Secrets never pass through here: Azure reads them from the vault itself.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

die() {
    printf 'deploy.sh: %s\n' "$*" >&2
    exit 1
}

running_image() { # RESOURCE_GROUP
    az container list --resource-group "$1" --query "[].containers[] | [?name=='service'].image | [0]" --output tsv
}

vault_of() { # RESOURCE_GROUP
    local vault
    vault=$(az keyvault list --resource-group "$1" --query '[0].id' --output tsv)
    [ -n "$vault" ] || die "there is no vault in $1: deploy foundation.json first"
    printf '%s\n' "$vault"
}

deploy() { # RESOURCE_GROUP IMAGE PARAMETERS
    local group=$1 image=$2 vault token_key parameter
    shift 2
    [ -n "$image" ] || die "no image: nothing runs in $group; name one"
    vault=$(vault_of "$group")
    token_key='"tokenKey": {"reference": {"keyVault": {"id": "'$vault'"}, "secretName": "token-key"}},'
    # Where somebody else signs tokens, there need be no key of ours.
    for parameter; do
        case $parameter in jwksUrl=?*) token_key= ;; esac
    done
    parameters=$(mktemp)
    trap 'rm -f "$parameters"' EXIT
    cat >"$parameters" <<END_OF_PARAMETERS
{
  "\$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "image": {"value": "$image"},
    $token_key
    "secretSettings": {"reference": {"keyVault": {"id": "$vault"}, "secretName": "secret-settings"}}
  }
}
END_OF_PARAMETERS
    az deployment group create --resource-group "$group" --name "service-$(date -u +%Y%m%d-%H%M%S)" \
        --template-file "$here/service.json" --parameters "@$parameters" "$@" \
        --query properties.outputs.url.value --output tsv
}

case "$#:${1-}" in
    2:--running) running_image "$2" ;;
    0:* | 1:* | *:-*) die "usage: deploy.sh RESOURCE_GROUP IMAGE PARAMETER=VALUE… | deploy.sh --running RESOURCE_GROUP" ;;
    *) deploy "$@" ;;
esac
