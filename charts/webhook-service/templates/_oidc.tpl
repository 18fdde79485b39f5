{{/* Signing in by OpenID Connect: variables of ingest by name, as YAML. None of them without an issuer. */}}
{{- define "webhook-service.oidcVariables" -}}
{{- with .root.Values.oidc }}
{{- if .issuer }}
OIDC_ISSUER: {{ .issuer | quote }}
OIDC_CLIENT_ID: {{ .clientId | quote }}
OIDC_REDIRECT_URL: {{ .redirectUrl | quote }}
OIDC_SCOPES: {{ join " " .scopes | quote }}
OIDC_GROUPS_CLAIM: {{ .groupsClaim | quote }}
OIDC_GROUP_ROLES: {{ toJson .groupRoles | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What of that is a secret, as entries of env, in pods with the role ingest. */}}
{{- define "webhook-service.oidcEnv" -}}
{{- with .root.Values.oidc }}
{{- if and .issuer .existingSecret (has "ingest" (include "webhook-service.roles" $ | fromJsonArray)) }}
- name: OIDC_CLIENT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .secretKey }}
{{- end }}
{{- end }}
{{- end }}

{{/* What is wrong with these values, or nothing. */}}
{{- define "webhook-service.oidcProblem" -}}
{{- with .Values.oidc }}
{{- if .issuer }}
{{- if not (hasPrefix "https://" .issuer) }}
oidc.issuer: {{ .issuer | quote }} must begin with https://
{{- end }}
{{- if not .clientId }}
oidc.clientId: is required with oidc.issuer
{{- end }}
{{- if not (regexMatch `^https://[^/?#@]+/console/oidc/callback$` .redirectUrl) }}
oidc.redirectUrl: {{ .redirectUrl | quote }} must be https://HOST/console/oidc/callback, with the host of the console
{{- end }}
{{- if not .groupRoles }}
oidc.groupRoles: is required with oidc.issuer: nobody could sign in
{{- end }}
{{- end }}
{{- end }}
{{- end }}
