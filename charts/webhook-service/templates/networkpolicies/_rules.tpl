{{/* What the rules are made of, as YAML. */}}

{{/* Pods with a role (or of another component) of this release, as peers: (dict "root" $ "components" (list "worker")). */}}
{{- define "webhook-service.podPeers" -}}
{{- $peers := list }}
{{- range .components }}
{{- $labels := include "webhook-service.roleSelectorLabels" (dict "root" $.root "role" .) | fromYaml }}
{{- $peers = append $peers (dict "podSelector" (dict "matchLabels" $labels)) }}
{{- end }}
{{- toYaml $peers }}
{{- end }}

{{- define "webhook-service.tcpPorts" -}}
{{- $ports := list }}
{{- range . }}
{{- $ports = append $ports (dict "protocol" "TCP" "port" (int .)) }}
{{- end }}
{{- toYaml $ports }}
{{- end }}

{{/* The roles, and the other components whose pods are in this release. */}}
{{- define "webhook-service.networkComponents" -}}
{{- $components := include "webhook-service.allRoles" . | fromJsonArray }}
{{- if .Values.migrations.enabled }}{{ $components = append $components "migrate" }}{{ end }}
{{- if .Values.tests.enabled }}{{ $components = append $components "test" }}{{ end }}
{{- if .Values.postgresql.enabled }}{{ $components = append $components "postgresql" }}{{ end }}
{{- if .Values.redis.enabled }}{{ $components = append $components "redis" }}{{ end }}
{{- toYaml $components }}
{{- end }}

{{/* The ports of stores elsewhere. What stands in a Secret or a URL is not read: it has to be said. */}}
{{- define "webhook-service.externalPorts" -}}
{{- $ports := (get .root.Values.networkPolicy .store).ports }}
{{- if $ports }}
{{- toYaml $ports }}
{{- else if eq .store "postgresql" }}
{{- $external := .root.Values.externalPostgresql }}
{{- list $external.port (ternary $external.directPort $external.port (ne $external.directHost "")) | uniq | toYaml }}
{{- else }}
{{- list (splitList ":" .root.Values.externalRedis.addr | last | int) | toYaml }}
{{- end }}
{{- end }}

{{/* An IPv4 network as NAT64 wraps it: 10.0.0.0/8 is 64:ff9b::a00:0/104. */}}
{{- define "webhook-service.nat64" -}}
{{- $parts := splitList "/" . }}
{{- $groups := concat (list 100 65435 0 0 0 0) (include "webhook-service.addressGroups" (first $parts) | fromJsonArray) }}
{{- include "webhook-service.addressText" $groups }}/{{ add 96 (last $parts | atoi) }}
{{- end }}

{{/* The public internet, without networkPolicy.worker.denyCidrs. */}}
{{- define "webhook-service.publicPeers" -}}
{{- $not := .Files.Get "files/public-networks.yaml" | fromYaml }}
{{- $ipv4 := $not.ipv4 }}
{{- $ipv6 := $not.ipv6 }}
{{- $nat64 := list }}
{{- range .Values.networkPolicy.worker.denyCidrs }}
{{- if contains ":" . }}{{ $ipv6 = append $ipv6 . }}{{ else }}{{ $ipv4 = append $ipv4 . }}{{ end }}
{{- end }}
{{- range $ipv4 }}
{{- $nat64 = append $nat64 (include "webhook-service.nat64" .) }}
{{- end }}
{{- list
  (dict "ipBlock" (dict "cidr" "0.0.0.0/0" "except" $ipv4))
  (dict "ipBlock" (dict "cidr" "2000::/3" "except" $ipv6))
  (dict "ipBlock" (dict "cidr" "64:ff9b::/96" "except" $nat64)) | toYaml }}
{{- end }}

{{/* An entry of egressAllow as cidr and port (0: any), or nothing where it is a name, which no policy knows. */}}
{{- define "webhook-service.allowedNetwork" -}}
{{- $port := "0" }}
{{- $network := . }}
{{- if or (regexMatch `^[0-9.]+:[0-9]+$` .) (regexMatch `^\[[^\]]*\]:[0-9]+$` .) }}
{{- $port = splitList ":" . | last }}
{{- $network = trimSuffix (printf ":%s" $port) . }}
{{- end }}
{{- with $network | trimPrefix "[" | trimSuffix "]" | include "webhook-service.network" }}
{{- dict "cidr" . "port" ($port | atoi) | toYaml }}
{{- end }}
{{- end }}

{{/* Where deliveries go: a proxy alone, or the internet, what egressAllow adds, and the receiver of `helm test`. */}}
{{- define "webhook-service.receiverRules" -}}
{{- $policy := .root.Values.networkPolicy }}
{{- $rules := list }}
{{- if $policy.proxy.peers }}
{{- $rules = append $rules (dict "to" $policy.proxy.peers "ports" (include "webhook-service.tcpPorts" $policy.proxy.ports | fromYamlArray)) }}
{{- else }}
{{- $any := list (dict "protocol" "TCP") }}
{{- with $policy.worker.ports }}
{{- $any = include "webhook-service.tcpPorts" . | fromYamlArray }}
{{- end }}
{{- $rules = append $rules (dict "to" (include "webhook-service.publicPeers" .root | fromYamlArray) "ports" $any) }}
{{- range .root.Values.egressAllow }}
{{- with include "webhook-service.allowedNetwork" . }}
{{- $allowed := fromYaml . }}
{{- $ports := $any }}
{{- if $allowed.port }}
{{- $ports = include "webhook-service.tcpPorts" (list $allowed.port) | fromYamlArray }}
{{- end }}
{{- $rules = append $rules (dict "to" (list (dict "ipBlock" (dict "cidr" $allowed.cidr))) "ports" $ports) }}
{{- end }}
{{- end }}
{{- if .root.Values.tests.enabled }}
{{- $peers := include "webhook-service.podPeers" (dict "root" .root "components" (list "test")) | fromYamlArray }}
{{- $rules = append $rules (dict "to" $peers "ports" (include "webhook-service.tcpPorts" (list .testPort) | fromYamlArray)) }}
{{- end }}
{{- end }}
{{- toYaml $rules }}
{{- end }}
