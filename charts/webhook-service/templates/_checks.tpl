{{/* Rules that values.schema.json cannot express, or not in plain words: one line per problem, all reported at once. */}}

{{- define "webhook-service.check" -}}
{{- $problems := list }}
{{- range list "name" "label" "image" "layout" "pod" "service" "postgresql" "redis" "relay" "setting" "network" "route" "cluster" }}
{{- range include (printf "webhook-service.%sProblems" .) $ | splitList "\n" }}
{{- with trim . }}{{ $problems = append $problems . }}{{ end }}
{{- end }}
{{- end }}
{{- if $problems }}
{{- $sentences := join "\n  - " $problems }}
{{- $hints := "" }}
{{- if or (contains "Postgres: set" $sentences) (contains "Redis: set" $sentences) }}
{{- $hints = include "webhook-service.installHints" . | trim | nindent 2 | printf "\n\nSet these as well before the first install:%s" }}
{{- end }}
{{- fail (printf "\n\nThese values cannot be installed:\n  - %s%s" $sentences (trimSuffix "\n" $hints)) }}
{{- end }}
{{- end }}

{{/* What a production installation needs in addition. Reported together with missing stores. */}}
{{- define "webhook-service.installHints" -}}
{{- if or (not (contains "/" .Values.image.repository)) (hasPrefix "example.com/" .Values.image.repository) }}
- image.repository: {{ .Values.image.repository | quote }} is not in a registry; set the repository that you pushed the image to
{{- end }}
{{- if not .Values.secrets.existingSecret }}
- secrets.existingSecret: a Secret with your own keys; without it, `helm install` creates keys once, and tools that only render (helm template, Argo CD) create others each time
{{- end }}
{{- end }}

{{- define "webhook-service.nameProblems" -}}
{{- if eq (toString .Values.enabled) "false" }}
enabled: false has an effect only as the condition of a dependency in a parent's Chart.yaml (`condition: {{ .Chart.Name }}.enabled`)
{{- end }}
{{- with .Values.fullnameOverride }}
{{- if not (and (regexMatch `^[a-z]([-a-z0-9]*[a-z0-9])?$` .) (le (len .) 40)) }}
fullnameOverride: {{ . | quote }} must be at most 40 lowercase letters, digits and "-", and begin with a letter, because Service names contain it
{{- end }}
{{- end }}
{{- with .Values.nameOverride }}
{{- if not (and (regexMatch `^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$` .) (le (len .) 63)) }}
nameOverride: {{ . | quote }} must be at most 63 letters, digits, "-", "_" and ".", and begin and end with a letter or digit: it is the value of a label
{{- end }}
{{- end }}
{{- if not (or .Values.serviceAccount.create .Values.serviceAccount.name) }}
serviceAccount.name: required when serviceAccount.create is false
{{- end }}
{{- end }}

{{- define "webhook-service.labelProblems" -}}
{{- $sets := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels }}
{{- range $component := append (include "webhook-service.allRoles" . | fromJsonArray) "migrations" }}
{{- with (get $.Values $component | default dict).podLabels }}{{ $_ := set $sets (printf "%s.podLabels" $component) . }}{{ end }}
{{- end }}
{{- $own := include "webhook-service.ownLabels" (dict "root" $ "component" "worker") | fromYaml }}
{{- $own = merge $own (include "webhook-service.roleLabels" (include "webhook-service.allRoles" . | fromJsonArray) | fromYaml) }}
{{- range $path, $labels := $sets }}
{{- range $name, $value := $labels }}
{{- if hasKey $own $name }}
{{ $path }}: {{ $name }} is a label of the chart that selects its pods; remove it
{{- else if not (regexMatch `^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$` $name) }}
{{ $path }}: {{ $name | quote }} is not a valid label name
{{- else if not (regexMatch `^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$` $value) }}
{{ $path }}: the value {{ $value | quote }} of {{ $name }} must be at most 63 letters, digits, "-", "_" and ".", and begin and end with a letter or digit
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.imageProblems" -}}
{{- range $path, $image := dict "image" .Values.image "postgresql.image" .Values.postgresql.image "redis.image" .Values.redis.image }}
{{- if eq $image.tag "latest" }}
{{ $path }}.tag: "latest" is not a version: nodes would run different versions, and a rollback would have no effect; set a version, or {{ $path }}.digest
{{- else if not (regexMatch `^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$` $image.tag) }}
{{ $path }}.tag: {{ $image.tag | quote }} is not a valid tag
{{- end }}
{{- if not (regexMatch `^(sha256:[0-9a-f]{64})?$` $image.digest) }}
{{ $path }}.digest: {{ $image.digest | quote }} must be sha256: and 64 hexadecimal digits
{{- end }}
{{- if regexMatch `[@:][^/]*$` $image.repository }}
{{ $path }}.repository: {{ $image.repository | quote }} must not have a tag or digest: set {{ $path }}.tag or {{ $path }}.digest
{{- else if not (regexMatch `^[a-z0-9]([a-z0-9._:-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$` $image.repository) }}
{{ $path }}.repository: {{ $image.repository | quote }} must be registry/name in lowercase, without https://
{{- end }}
{{- end }}
{{- with (.Values.global | default dict).imageRegistry }}
{{- if not (regexMatch `^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9._-]+)*$` .) }}
global.imageRegistry: {{ . | quote }} must be host, host:port or host/path, without https://
{{- end }}
{{- end }}
{{- end }}

{{/* What is set for a role whose Deployment has another name, and would have no effect. Values with defaults cannot be told
from those that are set. */}}
{{- define "webhook-service.layoutProblems" -}}
{{- range $deployment, $roles := include "webhook-service.deployments" . | fromJson }}
{{- range $role := without $roles $deployment }}
{{- range $name, $value := omit (get $.Values $role) "replicas" "autoscaling" "resources" "minReadySeconds" }}
{{- if $value }}
{{ $role }}.{{ $name }}: has no effect with layout {{ $.Values.layout }}, where {{ $role }} runs in the pods of {{ $deployment }}; set {{ $deployment }}.{{ $name }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.podProblems" -}}
{{- range $component, $_ := include "webhook-service.deployments" . | fromJson }}
{{- $own := include "webhook-service.deploymentValues" (dict "root" $ "component" $component) | fromJson }}
{{- if not (include "webhook-service.autoscaled" (dict "root" $ "component" $component)) }}
{{- if lt (int $own.replicas) 1 }}
{{ $component }}.replicas: 0 would stop the service, which needs at least one pod of each component; to pause it, use `kubectl scale`
{{- end }}
{{- else if gt (int $own.autoscaling.minReplicas) (int $own.autoscaling.maxReplicas) }}
{{ $component }}.autoscaling.maxReplicas: {{ int $own.autoscaling.maxReplicas }} is less than minReplicas, {{ int $own.autoscaling.minReplicas }}
{{- end }}
{{- range $path, $context := dict (printf "%s.podSecurityContext" $component) $own.podSecurityContext (printf "%s.securityContext" $component) $own.securityContext }}
{{- include "webhook-service.userProblem" (dict "path" $path "context" $context) }}
{{- end }}
{{- end }}
{{- include "webhook-service.userProblem" (dict "path" "migrations.podSecurityContext" "context" (get .Values.migrations "podSecurityContext")) }}
{{- include "webhook-service.userProblem" (dict "path" "podSecurityContext" "context" .Values.podSecurityContext) }}
{{- include "webhook-service.userProblem" (dict "path" "securityContext" "context" .Values.securityContext) }}
{{- if and .Values.podDisruptionBudget.enabled (not (regexMatch `^([1-9][0-9]*|[1-9][0-9]?%|100%)$` (.Values.podDisruptionBudget.maxUnavailable | toString))) }}
podDisruptionBudget.maxUnavailable: must be 1 or more, or 1% to 100%: with 0 nodes could not be drained
{{- end }}
{{- if and .Values.autoscaling.enabled (eq .Values.autoscaling.source "keda") (not .Values.autoscaling.keda.serverAddress) }}
autoscaling.keda.serverAddress: required for source "keda": the address of Prometheus, such as http://prometheus-operated.monitoring:9090
{{- end }}
{{- if and .Values.grpcTls.enabled (not (or .Values.grpcTls.existingSecret .Values.grpcTls.certificate.issuerRef)) }}
grpcTls: set grpcTls.existingSecret, or grpcTls.certificate.issuerRef so that cert-manager creates it
{{- end }}
{{- end }}

{{- define "webhook-service.userProblem" -}}
{{- $context := .context | default dict }}
{{- if and (hasKey $context "runAsUser") (not (kindIs "invalid" $context.runAsUser)) }}
{{- if eq (int $context.runAsUser) 0 }}
{{ .path }}.runAsUser: 0 is root, which this chart does not allow (runAsNonRoot); set another user, or null if the platform picks it
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.serviceProblems" -}}
{{- $service := .Values.gateway.service }}
{{- if and (eq $service.type "ClusterIP") $service.nodePort }}
gateway.service.nodePort: requires gateway.service.type NodePort or LoadBalancer
{{- end }}
{{- if and (eq $service.type "ClusterIP") $service.externalTrafficPolicy }}
gateway.service.externalTrafficPolicy: requires gateway.service.type NodePort or LoadBalancer
{{- end }}
{{- range list "loadBalancerClass" "loadBalancerSourceRanges" }}
{{- if and (ne $service.type "LoadBalancer") (get $service .) }}
gateway.service.{{ . }}: requires gateway.service.type LoadBalancer
{{- end }}
{{- end }}
{{- range $index, $range := $service.loadBalancerSourceRanges }}
{{ include "webhook-service.networkProblem" (dict "path" (printf "gateway.service.loadBalancerSourceRanges[%d]" $index) "value" $range) }}
{{- end }}
{{- end }}

{{- define "webhook-service.postgresqlProblems" -}}
{{- $external := .Values.externalPostgresql }}
{{- if .Values.postgresql.enabled }}
{{- range list "host" "databaseUrlKey" "directHost" "directUrlKey" }}
{{- if get $external . }}
postgresql.enabled: cannot be combined with externalPostgresql.{{ . }}; remove one of them
{{- end }}
{{- end }}
{{- else }}
{{- if not (or $external.host $external.databaseUrlKey) }}
Postgres: set externalPostgresql.host, or externalPostgresql.existingSecret and databaseUrlKey, or for a trial postgresql.enabled=true
{{- end }}
{{- if and (or $external.databaseUrlKey $external.directUrlKey) (not $external.existingSecret) }}
externalPostgresql.existingSecret: required with databaseUrlKey and directUrlKey: the Secret that contains the URL
{{- end }}
{{- if $external.runtimeUser }}
{{- if and $external.databaseUrlKey (not $external.runtimeUrlKey) }}
externalPostgresql.runtimeUrlKey: required with runtimeUser and databaseUrlKey: the key of that role's URL in existingSecret
{{- else if and (not $external.databaseUrlKey) $external.existingSecret (not $external.runtimePasswordKey) }}
externalPostgresql.runtimePasswordKey: required with runtimeUser and existingSecret: the key of that role's password
{{- end }}
{{- end }}
{{- range $key := list "host" "directHost" }}
{{- with get $external $key }}
{{- $folder := hasPrefix "/" . }}
{{- if or (regexMatch `[\s@?#]` .) (and (not $folder) (or (contains "/" .) (regexMatch `(^|,)[^:,]*:[0-9]*(,|$)` .))) }}
externalPostgresql.{{ $key }}: {{ contains "@" . | ternary "" (printf "%q " .) }}must be a host name or address without a port; put a URL into a Secret (existingSecret and databaseUrlKey)
{{- end }}
{{- end }}
{{- end }}
{{- if not $external.databaseUrlKey }}
{{- if and (hasPrefix "verify-" $external.sslMode) (not $external.caSecret) }}
externalPostgresql.caSecret: required with sslMode {{ $external.sslMode }}: the Secret with the CA certificate
{{- else if and $external.caSecret (not (hasPrefix "verify-" $external.sslMode)) }}
externalPostgresql.sslMode: must be verify-ca or verify-full with caSecret; otherwise the certificate is not verified
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.redisProblems" -}}
{{- $external := .Values.externalRedis }}
{{- if .Values.redis.enabled }}
{{- range list "addr" "url" "urlKey" }}
{{- if get $external . }}
redis.enabled: cannot be combined with externalRedis.{{ . }}; remove one of them
{{- end }}
{{- end }}
{{- else }}
{{- if not (or $external.addr $external.url $external.urlKey) }}
Redis: set externalRedis.addr, .url, or .existingSecret and .urlKey, or for a trial redis.enabled=true
{{- end }}
{{- if and (or $external.urlKey $external.passwordKey) (not $external.existingSecret) }}
externalRedis.existingSecret: required with urlKey or passwordKey: the Secret that contains it
{{- end }}
{{- with $external.addr }}
{{- if not (regexMatch `^([^\s/@:\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$` .) }}
externalRedis.addr: {{ . | quote }} must be host:port, with an IPv6 address in brackets
{{- else if or (lt (splitList ":" . | last | int) 1) (gt (splitList ":" . | last | int) 65535) }}
externalRedis.addr: the port of {{ . | quote }} is not from 1 to 65535
{{- end }}
{{- end }}
{{- with $external.url }}
{{- if contains "@" . }}
externalRedis.url: must not contain a user or password; put the URL into a Secret and set existingSecret and urlKey
{{- else if not (regexMatch `^rediss?(\+(sentinel|cluster))?://[^/\s]+\S*$` .) }}
externalRedis.url: {{ . | quote }} must begin with redis://, redis+sentinel:// or redis+cluster://, or with rediss for TLS
{{- else if and (contains "+sentinel" .) (not (regexMatch `://[^/]+/[^/?]+` .)) }}
externalRedis.url: {{ . | quote }} must have the service name after the hosts, as in redis+sentinel://host:26379/mymaster/0
{{- end }}
{{- end }}
{{- if and $external.caSecret (not $external.urlKey) (not (hasPrefix "rediss" $external.url)) }}
externalRedis.caSecret: requires TLS: a URL that begins with rediss, in externalRedis.url or in a Secret (urlKey)
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.relayProblems" -}}
{{- if and .Values.relay.enabled (not .Values.relay.existingSecret) }}
relay.existingSecret: required when relay.enabled is true: the Secret with the URL of the database that has the outbox
{{- end }}
{{- if and .Values.relay.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.outbox.peers) }}
networkPolicy.outbox.peers: required when relay.enabled is true: the networks or pods of that database
{{- end }}
{{- end }}

{{/* A setting or its default: (dict "root" $ "name" "LEASE_SECONDS"). */}}
{{- define "webhook-service.setting" -}}
{{- $settings := .root.Values.settings | default dict }}
{{- $set := "" }}
{{- if hasKey $settings .name }}{{ $set = get $settings .name }}{{ end }}
{{- if or (kindIs "invalid" $set) (eq (toString $set) "") }}
{{- $set = get (.root.Files.Get "files/defaults.json" | fromJson) .name }}
{{- end }}
{{- if not (kindIs "invalid" $set) }}{{ include "webhook-service.text" $set }}{{ end }}
{{- end }}

{{- define "webhook-service.settingProblems" -}}
{{- $settings := .Values.settings | default dict }}
{{- $timeout := include "webhook-service.setting" (dict "root" $ "name" "DELIVERY_TIMEOUT_SECONDS") | float64 }}
{{- $lease := include "webhook-service.setting" (dict "root" $ "name" "LEASE_SECONDS") | float64 }}
{{- if lt $lease (addf $timeout 5.0) }}
settings.LEASE_SECONDS: {{ $lease }} must be at least DELIVERY_TIMEOUT_SECONDS ({{ $timeout }}) + 5, or another worker would send a delivery that is still being sent
{{- end }}
{{- if lt (float64 .Values.shutdown.graceSeconds) (addf $timeout 5.0) }}
shutdown.graceSeconds: {{ .Values.shutdown.graceSeconds }} must be at least settings.DELIVERY_TIMEOUT_SECONDS ({{ $timeout }}) + 5, or a stopping worker would interrupt requests
{{- end }}
{{- include "webhook-service.retryProblem" . }}
{{- include "webhook-service.oidcProblem" . }}
{{- with $settings.EGRESS_DENY_PORTS }}
{{- if ne (trim .) "none" }}
{{- range splitList "," . }}
{{- $port := trim . }}
{{- if not (or (eq $port "default") (eq $port "") (and (regexMatch `^[0-9]{1,5}$` $port) (regexMatch `[1-9]` $port) (le (float64 $port) 65535.0))) }}
settings.EGRESS_DENY_PORTS: {{ $port | quote }} is not "default" or a port from 1 to 65535
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with $settings.EGRESS_PROXY }}
{{- if not (regexMatch `^http://([^\s/@]+@)?([^\s/@:]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?$` .) }}
settings.EGRESS_PROXY: must be http://host:port; to use a user and password, take the URL from a Secret with worker.extraEnv
{{- else }}
{{- $port := regexFind `[0-9]+/?$` . | trimSuffix "/" | float64 }}
{{- if or (lt $port 1.0) (gt $port 65535.0) }}
settings.EGRESS_PROXY: the port must be from 1 to 65535
{{- end }}
{{- end }}
{{- end }}
{{- with $settings.EGRESS_CA_BUNDLE }}
{{- $path := . }}
{{- $mounted := false }}
{{- range $.Values.worker.extraVolumeMounts }}
{{- if or (eq .mountPath $path) (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $path) }}{{ $mounted = true }}{{ end }}
{{- end }}
{{- if not $mounted }}
settings.EGRESS_CA_BUNDLE: {{ . | quote }} is not in the image; mount it with worker.extraVolumes and worker.extraVolumeMounts
{{- end }}
{{- end }}
{{- with $settings.BIND_HOST }}
{{- if not (has . (list "0.0.0.0" "::")) }}
settings.BIND_HOST: {{ . | quote }} must be "0.0.0.0" or "::": probes, Services and Prometheus connect to the pod's address
{{- end }}
{{- end }}
{{- with .Values.tracing.endpoint }}
{{- if not (regexMatch `^https?://([^\s/@:]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?$` .) }}
tracing.endpoint: {{ . | quote }} must be http://host:port or https://host:port, without a path
{{- end }}
{{- end }}
{{- range $key, $value := .Values.tracing.resourceAttributes }}
{{- if or (not $value) (not $key) (regexMatch `[=,\s]` $key) }}
tracing.resourceAttributes: {{ $key | quote }} must be a name without spaces, "=" or ",", and have a value
{{- end }}
{{- end }}
{{- end }}

{{/* The default retries must end before a delivery expires and before its event is deleted. They follow
RETRY_DELAYS_SECONDS, which is not a setting (nor are RETRY_FACTOR and RETRY_JITTER), unless a setting of the exponential policy is set. */}}
{{- define "webhook-service.retryProblem" -}}
{{- $settings := .Values.settings | default dict }}
{{- $number := dict }}
{{- range list "RETRY_LIMIT" "RETRY_BASE_SECONDS" "RETRY_FACTOR" "RETRY_CAP_SECONDS" "RETRY_JITTER" "DELIVERY_EXPIRY_HOURS" "LOG_RETENTION_HOURS" }}
{{- $_ := set $number . (include "webhook-service.setting" (dict "root" $ "name" .) | float64) }}
{{- end }}
{{- $delays := get (.Files.Get "files/defaults.json" | fromJson) "RETRY_DELAYS_SECONDS" | default list }}
{{- range list "RETRY_LIMIT" "RETRY_BASE_SECONDS" "RETRY_CAP_SECONDS" }}
{{- if not (kindIs "invalid" (get (merge (dict . nil) $settings) .)) }}{{ $delays = list }}{{ end }}
{{- end }}
{{- $most := mulf 3600.0 (maxf $number.DELIVERY_EXPIRY_HOURS $number.LOG_RETENTION_HOURS) }}
{{- $total := 0.0 }}
{{- range $delays }}{{ $total = addf $total . }}{{ end }}
{{- if not $delays }}
{{- $delay := $number.RETRY_BASE_SECONDS }}
{{- range until (int $number.RETRY_LIMIT) }}
{{- if le $total $most }}
{{- $delay = minf $delay $number.RETRY_CAP_SECONDS }}
{{- $total = addf $total $delay }}
{{- $delay = mulf $delay $number.RETRY_FACTOR }}
{{- end }}
{{- end }}
{{- end }}
{{- $total = mulf $total (addf 1.0 $number.RETRY_JITTER) }}
{{- range list "DELIVERY_EXPIRY_HOURS" "LOG_RETENTION_HOURS" }}
{{- $hours := get $number . }}
{{- if gt $total (mulf $hours 3600.0) }}
settings.{{ . }}: {{ $hours }} h is shorter than the retries, which take up to {{ round (divf $total 3600.0) 1 }} h or more; raise it, or lower RETRY_LIMIT, RETRY_BASE_SECONDS or RETRY_CAP_SECONDS
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.networkProblems" -}}
{{- range .Values.egressAllow }}
{{ include "webhook-service.egressProblem" . }}
{{- end }}
{{- $policy := .Values.networkPolicy }}
{{- $lists := dict "dns.peers" $policy.dns.peers }}
{{- range list "gatewayClients" "grpcClients" "metricsClients" }}{{ $_ := set $lists . (get $policy .) }}{{ end }}
{{- range list "postgresql" "redis" "outbox" "otlp" "oidc" "proxy" }}{{ $_ := set $lists (printf "%s.peers" .) (get $policy .).peers }}{{ end }}
{{- range $path, $peers := $lists }}
{{- range $index, $peer := $peers }}
{{- $at := printf "networkPolicy.%s[%d]" $path $index }}
{{- with $peer.ipBlock }}
{{- if or (hasKey $peer "podSelector") (hasKey $peer "namespaceSelector") }}
{{ $at }}: ipBlock cannot be combined with a selector; use two entries
{{- end }}
{{ include "webhook-service.networkProblem" (dict "path" (printf "%s.ipBlock.cidr" $at) "value" .cidr) }}
{{- range .except }}
{{ include "webhook-service.networkProblem" (dict "path" (printf "%s.ipBlock.except" $at) "value" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $policy.worker.denyCidrs }}
{{ include "webhook-service.networkProblem" (dict "path" "networkPolicy.worker.denyCidrs" "value" .) }}
{{- if and (contains ":" .) (not (regexMatch `^[23][0-9a-fA-F]{3}:` .)) }}
networkPolicy.worker.denyCidrs: {{ . | quote }} is not within 2000::/3; everything else is closed already
{{- end }}
{{- end }}
{{- if $policy.enabled }}
{{- $external := .Values.externalPostgresql }}
{{- if not .Values.postgresql.enabled }}
{{- if not $policy.postgresql.peers }}
networkPolicy.postgresql.peers: required: the networks or pods of this store, because policies do not support host names
{{- end }}
{{- if and (not $policy.postgresql.ports) (or $external.databaseUrlKey $external.directUrlKey) }}
networkPolicy.postgresql.ports: required: the ports of Postgres, because its URL is in a Secret
{{- end }}
{{- end }}
{{- if not .Values.redis.enabled }}
{{- if not $policy.redis.peers }}
networkPolicy.redis.peers: required: the networks or pods of this store, because policies do not support host names
{{- end }}
{{- if not (or $policy.redis.ports .Values.externalRedis.addr) }}
networkPolicy.redis.ports: required: the ports of Redis and its sentinels, because they cannot be read from its URL
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "webhook-service.routeProblems" -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
ingress.hosts: at least one host name is required
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
httpRoute.parentRefs: at least one Gateway is required
{{- end }}
{{- range $path, $hosts := dict "ingress.hosts" .Values.ingress.hosts "httpRoute.hostnames" .Values.httpRoute.hostnames "console.hosts" .Values.console.hosts "portal.hosts" .Values.portal.hosts }}
{{- range $hosts }}
{{- if not (regexMatch `^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$` .) }}
{{ $path }}: {{ . | quote }} must be a host name in lowercase, without a scheme, port or path
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Kinds that the cluster lacks, which the API server would reject half-way through an install. */}}
{{- define "webhook-service.clusterProblems" -}}
{{- if and .Values.grpcTls.enabled .Values.grpcTls.certificate.issuerRef (not (include "webhook-service.knows" (dict "root" $ "kind" "cert-manager.io/v1/Certificate"))) }}
grpcTls.certificate: this cluster does not have Certificates of cert-manager.io/v1; install cert-manager, or set grpcTls.existingSecret
{{- end }}
{{- if and .Values.httpRoute.enabled (not (include "webhook-service.knows" (dict "root" $ "kind" "gateway.networking.k8s.io/v1/HTTPRoute"))) }}
httpRoute.enabled: this cluster does not have HTTPRoutes of gateway.networking.k8s.io/v1; install the Gateway API, or use ingress
{{- end }}
{{- if and .Values.autoscaling.enabled (eq .Values.autoscaling.source "keda") .Values.worker.autoscaling.enabled (not (include "webhook-service.knows" (dict "root" $ "kind" "keda.sh/v1alpha1/ScaledObject"))) }}
autoscaling.source: this cluster does not have ScaledObjects of keda.sh/v1alpha1; install KEDA, or use source prometheus-adapter
{{- end }}
{{- end }}

{{/* Whether the cluster has a kind, as "true" or nothing: (dict "root" $ "kind" "group/version/Kind"). Without a cluster
(helm template) it counts as present: every API server has apiregistration.k8s.io, and Helm does not assume it. */}}
{{- define "webhook-service.knows" -}}
{{- $versions := .root.Capabilities.APIVersions }}
{{- if or (not ($versions.Has "apiregistration.k8s.io/v1")) ($versions.Has .kind) }}true{{ end }}
{{- end }}
