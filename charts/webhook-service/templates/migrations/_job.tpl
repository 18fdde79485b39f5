{{- define "webhook-service.migration" -}}
{{- $root := .root -}}
backoffLimit: {{ $root.Values.migrations.backoffLimit }}
{{- if not (kindIs "invalid" $root.Values.migrations.ttlSecondsAfterFinished) }}
ttlSecondsAfterFinished: {{ $root.Values.migrations.ttlSecondsAfterFinished }}
{{- end }}
template:
  metadata:
    labels:
      {{- include "webhook-service.podLabels" . | nindent 6 }}
    {{- with merge (dict) $root.Values.podAnnotations $root.Values.commonAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "webhook-service.podSpec" . | nindent 4 }}
    # A new pod for each try, so that the words of the failed one stay.
    restartPolicy: Never
    {{- with (include "webhook-service.podValues" . | fromJson).extraInitContainers }}
    initContainers:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: migrate
        image: {{ include "webhook-service.ownImage" $root }}
        imagePullPolicy: {{ $root.Values.image.pullPolicy }}
        command: [python, scripts/schema.py, migrate]
        env:
          {{- include "webhook-service.postgresEnv" (dict "root" $root "direct" true) | trim | nindent 10 }}
        resources:
          {{- toYaml $root.Values.migrations.resources | nindent 10 }}
        securityContext:
          {{- toYaml $root.Values.securityContext | nindent 10 }}
        volumeMounts:
          - name: tmp
            mountPath: /tmp
          {{- with include "webhook-service.authorityMounts" $root }}
          {{- . | trim | nindent 10 }}
          {{- end }}
    volumes:
      - name: tmp
        emptyDir:
          sizeLimit: 64Mi
      {{- with include "webhook-service.authorityVolumes" $root }}
      {{- . | trim | nindent 6 }}
      {{- end }}
{{- end }}
