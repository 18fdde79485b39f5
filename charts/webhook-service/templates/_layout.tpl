{{/* Which Deployments there are, and which roles each has: everything else asks here. */}}

{{/* The Deployments of the layout with their roles, as JSON: {"gateway": ["gateway", "ingest"], …}. A relay has one of its
own in every layout. */}}
{{- define "webhook-service.deployments" -}}
{{- $found := get (.Files.Get "files/layouts.yaml" | fromYaml) .Values.layout }}
{{- if .Values.relay.enabled }}{{ $found = merge (dict "relay" (list "relay")) $found }}{{ end }}
{{- $found | toJson }}
{{- end }}

{{/* Every role that there are pods for, as JSON. */}}
{{- define "webhook-service.allRoles" -}}
{{- $found := keys (.Files.Get "files/layouts.yaml" | fromYaml).five }}
{{- if .Values.relay.enabled }}{{ $found = append $found "relay" }}{{ end }}
{{- $found | sortAlpha | toJson }}
{{- end }}

{{/* The roles of a component, as JSON; none of what is not a Deployment of the service. */}}
{{- define "webhook-service.roles" -}}
{{- get (include "webhook-service.deployments" .root | fromJson) .component | default list | toJson }}
{{- end }}

{{/* The values of a Deployment, as JSON: those of the role that it is named after; where it has several roles, with
those of `compact` on top. */}}
{{- define "webhook-service.deploymentValues" -}}
{{- $own := get .root.Values .component }}
{{- if gt (len (include "webhook-service.roles" . | fromJsonArray)) 1 }}
{{- $own = merge (dict) (get .root.Values.compact .component | default dict) $own }}
{{- end }}
{{- $own | toJson }}
{{- end }}

{{/* What a pod has for each of its roles. */}}
{{- define "webhook-service.roleLabels" -}}
{{- range . }}
roles.webhook-service/{{ . }}: "true"
{{- end }}
{{- end }}

{{/* What selects the pods with a role, of whichever Deployment: (dict "root" $ "role" "ingest"); of what is no role (the
Job, the stores, the test), the pods of the component. */}}
{{- define "webhook-service.roleSelectorLabels" -}}
{{- $labels := include "webhook-service.selectorLabels" (dict "root" .root "component" .role) | fromYaml }}
{{- if has .role (include "webhook-service.allRoles" .root | fromJsonArray) }}
{{- $labels = merge (omit $labels "app.kubernetes.io/component") (include "webhook-service.roleLabels" (list .role) | fromYaml) }}
{{- end }}
{{- toYaml $labels }}
{{- end }}
