"""Methods that are planned and not yet there: name, verb, sheet, what they take, mend and give.

A row disappears when its class is registered; a test keeps the two tables disjoint and complete.
"""

from __future__ import annotations

from labelwright._index import METHODS
from labelwright.registry import VERBS, Entry

ROWS = """
audit    | decontaminator                   | llm-decontaminator      | Decontaminator                   | none                  | leak              | findings selection      | Yang et al. 2023. arXiv:2311.04850
annotate | bag-belief-propagation           | llp-bp                  | BagBeliefPropagation             | proportions           | weak              | labels classifier       | Havaldar et al. ICLR 2024
annotate | latent-label-shift               | ddfa                    | LatentLabelShift                 | none                  | shift scarcity    | labels                  | Roberts, Mani, Garg, Lipton. NeurIPS 2022
annotate | labeling-instructions            | labeling-instructions   | LabelingInstructions             | class-labels boxes    | weak              | labels report           | Thaker et al.
annotate | organ-mask-filters               | ukbob                   | OrganMaskFilters                 | masks                 | noise             | labels                  | Bourigault et al.
annotate | point-to-rotated-box             | ssp                     | PointToRotatedBox                | points                | weak              | labels detector         | SSP
annotate | pseudo-box-mining                | marvelovd               | PseudoBoxMining                  | boxes                 | weak partial      | labels detector         | MarvelOVD
annotate | attribute-normaliser             | queaco                  | QueryAttributes                  | spans                 | weak              | labels                  | QUEACO
select   | selector-suite                   | data-selection-survey   | SelectorSuite                    | none                  | size              | selection               | Albalak et al. 2024. arXiv:2402.16827
select   | quality-filter                   | ultra-fineweb           | QualityClassifierFilter          | class-labels          | size              | selection classifier    | Ultra-FineWeb 2025
select   | toxicity                         | toxic-commons           | ToxicityFilter                   | targets               | private           | selection               | Toxic Commons 2024
select   | data-filtering-network           | dfn                     | DataFilteringNetwork             | captions              | size noise        | selection               | Fang et al. arXiv:2309.17425
select   | label-mapping                    | dp4tl                   | LabelMapping                     | class-labels          | size              | selection               | DP4TL 2023
select   | feature-mapping                  | dp4tl                   | FeatureMapping                   | none                  | size              | selection               | DP4TL 2023
select   | robust-active-distillation       | rad                     | RobustActiveDistillation         | none                  | scarcity size     | selection               | Baykal et al. ICLR 2023
select   | object-focused                   | ofds                    | ObjectFocusedSelection           | boxes masks           | size imbalance    | selection               | OFDS
select   | active-category-discovery        | active-gcd              | ActiveCategoryDiscovery          | class-labels          | scarcity partial  | selection classifier    | Active GCD. CVPR 2024
select   | slide-curation                   | rudolfv                 | SlideCuration                    | none                  | imbalance size    | selection               | Dippel et al. 2024. arXiv:2401.04079
condense | trajectory-matching              | smooth-expert-mtt       | TrajectoryMatching               | class-labels          | size              | condensed               | Smooth-expert MTT
condense | committee-voting                 | cv-dd                   | CommitteeVoting                  | class-labels          | size              | condensed               | CV-DD
condense | inter-class-compensator          | infer                   | InterClassCompensator            | class-labels          | size              | condensed               | INFER
condense | non-critical-region              | nrr-dd                  | NonCriticalRegionRefinement      | class-labels          | size              | condensed               | NRR-DD
condense | label-lightening                 | hello                   | LabelLightening                  | class-labels          | size              | condensed               | HeLlO
condense | prune-combine-augment            | pca                     | PruneCombineAugment              | class-labels          | size              | condensed               | PCA
learn    | simclr-v2                        | simclrv2                | SimCLRv2                         | class-labels          | scarcity          | classifier encoder      | Chen et al. NeurIPS 2020. arXiv:2006.10029
learn    | shrinkmatch                      | shrinkmatch             | ShrinkMatch                      | class-labels          | scarcity          | classifier              | Yang et al. ICCV 2023
learn    | fixmatch                         | shrinkmatch             | FixMatch                         | class-labels          | scarcity          | classifier              | Sohn et al. NeurIPS 2020
learn    | label-augmentation               | sla                     | SelfSupervisedLabelAugmentation  | class-labels          | scarcity          | classifier              | Lee, Hwang, Shin. ICML 2020
learn    | imbalanced-semi-supervised       | imbalanced-semi-self    | ImbalancedSemiSupervised         | class-labels          | imbalance scarcity| classifier              | Yang, Xu. NeurIPS 2020
learn    | imbalanced-self-supervised       | imbalanced-semi-self    | ImbalancedSelfSupervised         | class-labels          | imbalance         | classifier encoder      | Yang, Xu. NeurIPS 2020
learn    | random-deactivation-lora         | ce-ssl                  | RandomDeactivationLoRA           | multi-labels          | scarcity          | classifier              | CE-SSL
learn    | active-category-learner          | active-gcd              | ActiveCategoryLearner            | class-labels          | scarcity partial  | classifier              | Active GCD. CVPR 2024
learn    | positive-unlabelled              | pu-mlc                  | PositiveUnlabelledMultiLabel     | multi-labels          | partial           | classifier              | PU-MLC
learn    | comic                            | comic                   | CorrectionModificationBalance    | multi-labels          | partial imbalance | classifier labels       | COMIC
learn    | label-set-operations             | laso                    | LabelSetOperations               | multi-labels          | scarcity          | classifier encoder      | Alfassy et al. CVPR 2019
learn    | pruned-data-distillation         | kd-pruning              | PrunedDataDistillation           | class-labels          | size              | classifier              | Ben-Baruch et al. 2024
learn    | teacher-ensemble                 | meal-v2                 | TeacherEnsembleDistillation      | none                  | weak              | classifier              | Shen, Savvides. arXiv:2009.08453
learn    | distill-nearest                  | distill-weighted        | DistillNearest                   | class-labels          | scarcity shift    | classifier              | Distill-Weighted
learn    | distill-weighted                 | distill-weighted        | DistillWeighted                  | class-labels          | scarcity shift    | classifier              | Distill-Weighted
learn    | label-assisted-distillation      | lad                     | LabelAssistedDistillation        | masks                 | size              | segmenter               | LAD
learn    | multi-granularity-distillation   | mgd                     | MultiGranularityDistillation     | masks                 | scarcity          | segmenter               | Qin et al. MGD
learn    | fedlabel                         | fedlabel                | FedLabel                         | class-labels          | scarcity private  | classifier              | FedLabel
learn    | semipfl                          | semipfl                 | SemiPFL                          | class-labels          | scarcity private  | classifier              | SemiPFL
forget   | label-agnostic                   | laf                     | LabelAgnosticForgetting          | none                  | private           | forgetting              | LAF. ICLR 2024
forget   | concept-unlearning               | concept-unlearning      | ConceptUnlearning                | class-labels          | private           | forgetting              | Concept unlearning
certify  | label-powerset                   | lp-icp                  | LabelPowersetConformal           | multi-labels          | weak              | certificate             | LP-ICP
certify  | taggants                         | data-taggants           | DataTaggants                     | class-labels          | leak              | certificate             | Data taggants
learn    | bidirectional-copy-paste         | bcp                     | BidirectionalCopyPaste           | masks                 | scarcity          | segmenter               | Bai et al. CVPR 2023
learn    | entropy-adaptation               | ukbob                   | EntropyTestTimeAdaptation        | masks                 | noise shift       | segmenter               | Bourigault et al.
learn    | biomed-parser                    | biomedparse             | BiomedParser                     | masks captions        | weak              | segmenter detector      | Zhao et al. 2024
learn    | pathology-ssl                    | rudolfv                 | PathologySelfSupervision         | none                  | scarcity          | encoder                 | Dippel et al. 2024. arXiv:2401.04079
learn    | rotated-box-detector             | ssp                     | RotatedBoxDetector               | points                | weak              | detector                | SSP
learn    | open-vocabulary-detector         | marvelovd               | OpenVocabularyDetector           | boxes                 | weak partial      | detector                | MarvelOVD
learn    | query-attributes                 | queaco                  | QueryAttributeTagger             | spans                 | weak scarcity     | tagger                  | QUEACO
learn    | source-separation                | uss                     | UniversalSourceSeparation        | multi-labels          | weak              | separator               | Kong et al. 2023. arXiv:2305.07447
learn    | tape                             | tape                    | TapeTasks                        | class-labels targets  | scarcity          | classifier encoder      | Rao et al. NeurIPS 2019. arXiv:1906.08230
learn    | protsolm                         | protsolm                | ProtSolM                         | class-labels          | scarcity          | classifier              | ProtSolM
learn    | prot2text                        | prot2text               | Prot2Text                        | captions              | weak              | tagger                  | Abdine et al. arXiv:2307.14367
learn    | graphium                         | graphium                | Graphium                         | targets               | partial           | classifier encoder      | Beaini et al. arXiv:2310.04292
audit    | class-separability               | class-separability      | ClassSeparability                | none                  | weak              | findings report         | Ghalyan et al. arXiv:2305.15016
audit    | nutrition-label                  | nutrition-label         | NutritionLabel                   | none                  | imbalance noise   | report                  | Holland et al. arXiv:1805.03677
learn    | elr                              | elr                     | ELR                              | class-labels          | noise             | classifier labels       | Liu et al. NeurIPS 2020. arXiv:2007.00151
learn    | nested-coteaching                | nested-coteaching       | NestedCoTeaching                 | class-labels          | noise             | classifier labels       | Chen et al. TNNLS 2022. arXiv:2206.13140
"""


def _read() -> list[Entry]:
    done = {(e.verb, e.name) for e in METHODS}
    rows = []
    for line in ROWS.strip().splitlines():
        verb, name, sheet, title, has, flaw, gives, paper = (part.strip() for part in line.split("|"))
        if (verb, name) not in done:
            rows.append(
                Entry(
                    name=name,
                    verb=verb,
                    sheet=sheet,
                    title=title,
                    has=tuple(has.split()),
                    flaw=tuple(flaw.split()),
                    gives=tuple(gives.split()),
                    paper=paper,
                )
            )
    return sorted(rows, key=lambda e: VERBS.index(e.verb))  # stable: the order of the table within a verb


PLANNED: list[Entry] = _read()
