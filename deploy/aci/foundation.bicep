// What lasts: registry, storage, secrets, log and identities. Deployed once, by an owner of the resource group, since it
// gives out rights. foundation.json is the same for Azure Resource Manager; tests/test_delivery_aci.py holds them together.

@description('The first part of every name here: lower-case letters and digits.')
@minLength(3)
@maxLength(7)
param name string = 'cbtrade'

@description('Where everything is kept.')
param location string = resourceGroup().location

@description('The repository, OWNER/NAME, whose workflow may deploy from its environment `production`; empty: none.')
param githubRepository string = ''

@description('For how many days the log is kept.')
@minValue(30)
@maxValue(730)
param logDays int = 30

var suffix = uniqueString(resourceGroup().id)
var roles = {
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d'
  acrPush: '8311e382-0749-4cb8-b61a-304f252e45ec'
  blobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  storageKeyOperator: '81a9662b-bebf-436f-a333-f67b29880f12'
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: '${name}${suffix}'
  location: location
  sku: {
    name: 'Basic'
  }
  properties: {
    adminUserEnabled: false
  }
}

resource log 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-log'
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: logDays
  }
}

// History: reached by identities only, for there is no key that could leak.
resource data 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: '${name}data${suffix}'
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource dataBlobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: data
  name: 'default'
}

resource history 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: dataBlobs
  name: 'cb-trade'
  properties: {
    publicAccess: 'None'
  }
}

// The sidecar's certificate outlives a container. A share can only be mounted with the account's key: hence its own.
resource tls 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: '${name}tls${suffix}'
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource tlsFiles 'Microsoft.Storage/storageAccounts/fileServices@2023-05-01' = {
  parent: tls
  name: 'default'
}

resource certificates 'Microsoft.Storage/storageAccounts/fileServices/shares@2023-05-01' = {
  parent: tlsFiles
  name: 'caddy'
  properties: {
    shareQuota: 1
  }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: '${name}-${suffix}'
  location: location
  properties: {
    sku: {
      family: 'A'
      name: 'standard'
    }
    tenantId: subscription().tenantId
    enableRbacAuthorization: true
    enabledForTemplateDeployment: true
  }
}

// Who the service is: it may pull its image and use the container of history.
resource service 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-service'
  location: location
}

resource servicePulls 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, 'service', roles.acrPull)
  scope: registry
  properties: {
    principalId: service.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.acrPull)
  }
}

resource serviceStores 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(history.id, 'service', roles.blobDataContributor)
  scope: history
  properties: {
    principalId: service.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataContributor)
  }
}

// Who the workflow is: it may push images, deploy the container group and make a token to try it with.
resource deployer 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = if (!empty(githubRepository)) {
  name: '${name}-deployer'
  location: location
}

resource deployerFromGithub 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31' = if (!empty(githubRepository)) {
  parent: deployer
  name: 'github-production'
  properties: {
    issuer: 'https://token.actions.githubusercontent.com'
    subject: 'repo:${githubRepository}:environment:production'
    audiences: [
      'api://AzureADTokenExchange'
    ]
  }
}

resource deployService 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (!empty(githubRepository)) {
  name: guid(resourceGroup().id, 'deploy-service')
  properties: {
    roleName: '${name} deployer (${suffix})'
    description: 'Deploy the container group of cb-trade, and nothing else.'
    type: 'CustomRole'
    assignableScopes: [
      resourceGroup().id
    ]
    permissions: [
      {
        actions: [
          'Microsoft.ContainerInstance/containerGroups/read'
          'Microsoft.ContainerInstance/containerGroups/write'
          'Microsoft.KeyVault/vaults/deploy/action'
          'Microsoft.KeyVault/vaults/read'
          'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action'
          'Microsoft.ManagedIdentity/userAssignedIdentities/read'
          'Microsoft.OperationalInsights/workspaces/read'
          'Microsoft.OperationalInsights/workspaces/sharedKeys/action'
          'Microsoft.Resources/deployments/*'
          'Microsoft.Resources/subscriptions/resourceGroups/read'
        ]
        notActions: []
      }
    ]
  }
}

resource deployerDeploys 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(githubRepository)) {
  name: guid(resourceGroup().id, 'deployer', 'deploy-service')
  properties: {
    principalId: deployer.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: deployService.id
  }
}

resource deployerPushes 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(githubRepository)) {
  name: guid(registry.id, 'deployer', roles.acrPush)
  scope: registry
  properties: {
    principalId: deployer.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.acrPush)
  }
}

resource deployerMounts 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(githubRepository)) {
  name: guid(tls.id, 'deployer', roles.storageKeyOperator)
  scope: tls
  properties: {
    principalId: deployer.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageKeyOperator)
  }
}

resource deployerMakesTokens 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(githubRepository)) {
  name: guid(vault.id, 'deployer', roles.keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: deployer.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

@description('The registry that images are pushed to.')
output registryName string = registry.name

@description('The vault that secrets are set in.')
output vaultName string = vault.name

@description('For AZURE_CLIENT_ID of the workflow; empty without a repository.')
output deployerClientId string = !empty(githubRepository) ? deployer.properties.clientId : ''
