{{/* What the pods of both stores share. Their images bring user 999. */}}
{{- define "webhook-service.storePodSpec" -}}
serviceAccountName: {{ include "webhook-service.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "webhook-service.imagePullSecrets" .root }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 999
  runAsGroup: 999
  fsGroup: 999
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}
