{{/* The rules of a role, or of another component: (dict "root" $ "component" "worker" "connections" (files/connections.yaml, read)). */}}

{{- define "webhook-service.ingressRules" -}}
{{- $policy := .root.Values.networkPolicy }}
{{- $there := include "webhook-service.networkComponents" .root | fromYamlArray }}
{{- $ports := include "webhook-service.tcpPorts" (list (get .connections.ports .component)) | fromYamlArray }}
{{- $clients := list }}
{{- range $client, $servers := .connections.opens }}
{{- if and (has $.component $servers) (has $client $there) }}{{ $clients = append $clients $client }}{{ end }}
{{- end }}
{{- $from := include "webhook-service.podPeers" (dict "root" .root "components" $clients) | fromYamlArray }}
{{- if has .component .connections.grpc }}
{{- $from = concat $from $policy.grpcClients }}
{{- end }}
{{- $rules := list }}
{{- if eq .component "gateway" }}
{{- if $policy.gatewayClients }}
{{- $rules = append $rules (dict "from" (concat $from $policy.gatewayClients) "ports" $ports) }}
{{- else }}
{{- $rules = append $rules (dict "ports" $ports) }}
{{- end }}
{{- else if eq .component "test" }}
{{- $sender := include "webhook-service.podPeers" (dict "root" .root "components" (list "worker")) | fromYamlArray }}
{{- $rules = append $rules (dict "from" ($policy.proxy.peers | default $sender) "ports" $ports) }}
{{- else if $from }}
{{- $rules = append $rules (dict "from" $from "ports" $ports) }}
{{- end }}
{{- $readers := $policy.metricsClients }}
{{- if and (has .component .connections.metrics.tested) (has "test" $there) }}
{{- $readers = concat $readers (include "webhook-service.podPeers" (dict "root" .root "components" (list "test")) | fromYamlArray) }}
{{- end }}
{{- if and $readers (has .component .connections.metrics.of) }}
{{- $rules = append $rules (dict "from" $readers "ports" (include "webhook-service.tcpPorts" (list .connections.metrics.port) | fromYamlArray)) }}
{{- end }}
{{- concat $rules (get $policy.extraIngress .component | default list) | default list | toYaml }}
{{- end }}

{{- define "webhook-service.egressRules" -}}
{{- $policy := .root.Values.networkPolicy }}
{{- $there := include "webhook-service.networkComponents" .root | fromYamlArray }}
{{- $rules := list }}
{{- $opens := get .connections.opens .component | default list }}
{{- if $opens }}
{{- $dns := list }}
{{- range $policy.dns.ports }}
{{- $dns = concat $dns (list (dict "protocol" "UDP" "port" (int .)) (dict "protocol" "TCP" "port" (int .))) }}
{{- end }}
{{- $rules = append $rules (dict "to" $policy.dns.peers "ports" $dns) }}
{{- end }}
{{- range $server := $opens }}
{{- if has $server $there }}
{{- $to := include "webhook-service.podPeers" (dict "root" $.root "components" (list $server)) | fromYamlArray }}
{{- $rules = append $rules (dict "to" $to "ports" (include "webhook-service.tcpPorts" (list (get $.connections.ports $server)) | fromYamlArray)) }}
{{- else if eq $server "receivers" }}
{{- $rules = concat $rules (include "webhook-service.receiverRules" (dict "root" $.root "testPort" $.connections.ports.test) | fromYamlArray) }}
{{- else }}
{{- $to := (get $policy $server).peers }}
{{- $ports := include "webhook-service.externalPorts" (dict "root" $.root "store" $server) | fromYamlArray }}
{{- $rules = append $rules (dict "to" $to "ports" (include "webhook-service.tcpPorts" $ports | fromYamlArray)) }}
{{- end }}
{{- end }}
{{- if eq .component "test" }}
{{- $to := include "webhook-service.podPeers" (dict "root" .root "components" .connections.metrics.tested) | fromYamlArray }}
{{- $rules = append $rules (dict "to" $to "ports" (include "webhook-service.tcpPorts" (list .connections.metrics.port) | fromYamlArray)) }}
{{- end }}
{{- if and $policy.otlp.peers (has .component .connections.metrics.of) }}
{{- $rules = append $rules (dict "to" $policy.otlp.peers "ports" (include "webhook-service.tcpPorts" $policy.otlp.ports | fromYamlArray)) }}
{{- end }}
{{- if and .root.Values.oidc.issuer $policy.oidc.peers (eq .component "ingest") }}
{{- $rules = append $rules (dict "to" $policy.oidc.peers "ports" (include "webhook-service.tcpPorts" $policy.oidc.ports | fromYamlArray)) }}
{{- end }}
{{- concat $rules (get $policy.extraEgress .component | default list) | default list | toYaml }}
{{- end }}
