{{- define "ashchat-operator.selector" -}}
app.kubernetes.io/name: ashchat-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "ashchat-operator.labels" -}}
{{ include "ashchat-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{/* Cluster-wide names carry the namespace, so that two releases do not fight over them. */}}
{{- define "ashchat-operator.cluster-name" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}
