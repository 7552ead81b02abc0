{{/* Name of every object of a part: <release>-worldloom-<part>, or <release>-<part> where the release says worldloom. */}}
{{- define "worldloom.fullname" -}}
{{- $base := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $base | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "worldloom.name" -}}
{{- printf "%s-%s" (include "worldloom.fullname" .root) .part -}}
{{- end -}}

{{/* Name that resolves to each pod of a part. */}}
{{- define "worldloom.podsName" -}}
{{- printf "%s-pods" (include "worldloom.name" .) -}}
{{- end -}}

{{/* Labels that select a part's pods; they never change. */}}
{{- define "worldloom.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "worldloom.labels" -}}
{{ include "worldloom.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Reference of an image by digest; `path` is where in the values it stands. */}}
{{- define "worldloom.image" -}}
{{- $repository := required (printf "%s.repository: expected the host and path of the image" .path) .image.repository -}}
{{- $digest := required (printf "%s.digest: expected sha256: and 64 hexadecimal digits, since a tag can change" .path) .image.digest -}}
{{- printf "%s@%s" $repository $digest -}}
{{- end -}}

{{/* Where the store answers, and what it is called. */}}
{{- define "worldloom.storeEndpoint" -}}
{{- if eq .Values.store.kind "external" -}}
{{- required "store.endpoint: expected the address of the external S3, such as https://s3.example.org" .Values.store.endpoint -}}
{{- else -}}
{{- printf "http://%s:8333" (include "worldloom.name" (dict "root" . "part" "store")) -}}
{{- end -}}
{{- end -}}

{{- define "worldloom.storeSecret" -}}
{{- required "store.credentialsSecret: expected the name of a secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" .Values.store.credentialsSecret -}}
{{- end -}}
