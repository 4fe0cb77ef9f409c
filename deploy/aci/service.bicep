// What changes: the service and the sidecar that ends TLS in front of it, beside what foundation.bicep made.
// service.json is the same for Azure Resource Manager; tests/test_delivery_aci.py holds them together.

@description('The first part of every name, as in the foundation.')
@minLength(3)
@maxLength(7)
param name string = 'cbtrade'

@description('Where it runs: where the foundation is.')
param location string = resourceGroup().location

@description('The image of the service, in the registry of the foundation; by digest, it cannot change unnoticed.')
param image string

@description('The image of the sidecar, imported into the same registry.')
param sidecarImage string = '${name}${uniqueString(resourceGroup().id)}.azurecr.io/caddy:2.10.2-alpine'

@description('The first part of its address, LABEL.REGION.azurecontainer.io: free in the region.')
@minLength(5)
@maxLength(63)
param dnsLabel string

@description('The name that clients use, if it is another one that points to that address; the certificate is for it.')
param hostName string = ''

@description('CPU cores of the service.')
@minValue(1)
@maxValue(4)
param cpuCores int = 1

@description('Memory of the service, in GB.')
@minValue(1)
@maxValue(16)
param memoryGb int = 2

@description('More settings, by variable, such as {"CB_TRADE_EXCHANGES__KRAKEN__CALLS_PER_SEC": "0.5"}; no secrets.')
param settings object = {}

@description('Where an identity provider publishes the keys of RS256 tokens, such as Microsoft Entra ID; empty: tokenKey checks tokens.')
param jwksUrl string = ''

@description('Who makes the tokens; empty: https:// and the name that clients use.')
param issuer string = ''

@description('Whom the tokens are for.')
param audience string = 'cb-trade'

@description('Key of HS256 tokens, at least 32 bytes; not used with jwksUrl.')
@secure()
param tokenKey string = ''

@description('Settings that are secret, as JSON by variable, such as {"CB_TRADE_EXCHANGES__KRAKEN__API_KEY": "…"}.')
@secure()
param secretSettings string = '{}'

var suffix = uniqueString(resourceGroup().id)
var address = empty(hostName) ? '${dnsLabel}.${location}.azurecontainer.io' : hostName
var serviceSettings = [
  // Behind the sidecar: what listens here cannot be reached from outside.
  {
    name: 'CB_TRADE_HOST'
    value: '127.0.0.1'
  }
  {
    name: 'CB_TRADE_PORT'
    value: '8700'
  }
  {
    name: 'CB_TRADE_MODE'
    value: 'production'
  }
  {
    name: 'CB_TRADE_STORAGE__BACKEND'
    value: 'azure'
  }
  {
    name: 'CB_TRADE_STORAGE__AZURE__ACCOUNT_URL'
    value: 'https://${name}data${suffix}.blob.${environment().suffixes.storage}'
  }
  {
    name: 'CB_TRADE_STORAGE__AZURE__CONTAINER'
    value: 'cb-trade'
  }
  {
    name: 'CB_TRADE_AUTH__AUDIENCE'
    value: audience
  }
  {
    name: 'CB_TRADE_AUTH__ISSUER'
    value: empty(issuer) ? 'https://${address}' : issuer
  }
  // No browsers: a page that is to connect is named here.
  {
    name: 'CB_TRADE_AUTH__ALLOWED_ORIGINS'
    value: '[]'
  }
  {
    name: 'CB_TRADE_LIMITS__CONNECTIONS_PER_SUBJECT'
    value: '64'
  }
  {
    name: 'CB_TRADE_LIMITS__REQUESTS_PER_SEC_PER_SUBJECT'
    value: '50'
  }
  // Three quarters of the container's: the rest is for what is under way.
  {
    name: 'CB_TRADE_LIMITS__MEMORY_MAX_BYTES'
    value: string(memoryGb * 805306368)
  }
]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = {
  name: '${name}-service'
}

resource log 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: '${name}-log'
}

resource tls 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: '${name}tls${suffix}'
}

resource group 'Microsoft.ContainerInstance/containerGroups@2023-05-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    sku: 'Standard'
    osType: 'Linux'
    restartPolicy: 'Always'
    imageRegistryCredentials: [
      {
        server: '${name}${suffix}.azurecr.io'
        identity: identity.id
      }
    ]
    ipAddress: {
      type: 'Public'
      dnsNameLabel: dnsLabel
      ports: [
        {
          port: 443
          protocol: 'TCP'
        }
      ]
    }
    diagnostics: {
      logAnalytics: {
        logType: 'ContainerInstanceLogs'
        workspaceId: log.properties.customerId
        workspaceKey: log.listKeys().primarySharedKey
      }
    }
    volumes: [
      {
        name: 'caddyfile'
        secret: {
          Caddyfile: base64(loadTextContent('Caddyfile'))
        }
      }
      {
        name: 'certificates'
        azureFile: {
          shareName: 'caddy'
          storageAccountName: tls.name
          storageAccountKey: tls.listKeys().keys[0].value
        }
      }
    ]
    containers: [
      {
        name: 'service'
        properties: {
          image: image
          resources: {
            requests: {
              cpu: cpuCores
              memoryInGB: memoryGb
            }
          }
          environmentVariables: concat(
            serviceSettings,
            [
              // Which of the identities there could be DefaultAzureCredential takes.
              {
                name: 'AZURE_CLIENT_ID'
                value: identity.properties.clientId
              }
              // Keys come from one place.
              empty(jwksUrl) ? {
                name: 'CB_TRADE_AUTH__SECRET'
                secureValue: tokenKey
              } : {
                name: 'CB_TRADE_AUTH__JWKS_URL'
                value: jwksUrl
              }
            ],
            map(items(settings), setting => {
              name: setting.key
              value: string(setting.value)
            }),
            map(items(json(secretSettings)), setting => {
              name: setting.key
              secureValue: setting.value
            })
          )
          livenessProbe: {
            exec: {
              command: [
                'python'
                '/opt/cb-trade/healthcheck.py'
                '/health/live'
              ]
            }
            initialDelaySeconds: 20
            periodSeconds: 30
            timeoutSeconds: 5
            failureThreshold: 3
          }
          readinessProbe: {
            exec: {
              command: [
                'python'
                '/opt/cb-trade/healthcheck.py'
                '/health/ready'
              ]
            }
            initialDelaySeconds: 5
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          }
        }
      }
      {
        name: 'tls'
        properties: {
          image: sidecarImage
          ports: [
            {
              port: 443
              protocol: 'TCP'
            }
          ]
          resources: {
            requests: {
              cpu: json('0.5')
              memoryInGB: json('0.5')
            }
          }
          environmentVariables: [
            {
              name: 'HOST_NAME'
              value: address
            }
          ]
          volumeMounts: [
            {
              name: 'caddyfile'
              mountPath: '/etc/caddy'
              readOnly: true
            }
            {
              name: 'certificates'
              mountPath: '/data'
            }
          ]
        }
      }
    ]
  }
}

@description('Where clients connect.')
output url string = 'wss://${address}/ws/data'
