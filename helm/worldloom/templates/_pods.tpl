{{/* What every pod may do: nothing beyond its own process. */}}
{{- define "worldloom.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "worldloom.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What every pod sets the same way; the API server's defaults are written out. */}}
{{- define "worldloom.podDefaults" -}}
automountServiceAccountToken: false
dnsPolicy: ClusterFirst
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
schedulerName: default-scheduler
{{- end -}}

{{- define "worldloom.containerDefaults" -}}
terminationMessagePath: /dev/termination-log
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{/* A probe by HTTP: path, port, period, failures. */}}
{{- define "worldloom.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
  scheme: HTTP
periodSeconds: {{ .period }}
timeoutSeconds: 5
successThreshold: 1
failureThreshold: {{ .failures }}
{{- end -}}

{{/* The store's address and keys as the environment of a container. */}}
{{- define "worldloom.storeEnvironment" -}}
- name: AWS_ENDPOINT_URL
  value: {{ include "worldloom.storeEndpoint" . | quote }}
- name: AWS_REGION
  value: {{ .Values.store.region | quote }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ include "worldloom.storeSecret" $ }}
      key: {{ . }}
      optional: false
{{- end }}
{{- end -}}

{{- define "worldloom.volumeClaim" -}}
accessModes: [ReadWriteOnce]
volumeMode: Filesystem
{{- with .className }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}
